// The preview of a mail that is typed: the form goes to the frame beside it, and nowhere else.

export function mount(button) {
  const show = (event) => {
    event.preventDefault();
    const form = button.form;
    const action = form.getAttribute("action");
    form.setAttribute("action", button.getAttribute("formaction"));
    form.target = button.getAttribute("formtarget");
    HTMLFormElement.prototype.submit.call(form);
    form.setAttribute("action", action);
    form.removeAttribute("target");
  };
  button.addEventListener("click", show);
  return () => button.removeEventListener("click", show);
}
