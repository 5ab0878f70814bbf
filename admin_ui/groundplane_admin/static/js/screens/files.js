// Files for a field: drop and paste are extras of the visible input; what is too large is said before it is sent.

const sized = (bytes) => (bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

export function mount(root) {
  const input = root.querySelector("input[type=file]");
  const drop = root.querySelector(".drop");
  const list = root.querySelector("[data-chosen]");
  const limit = Number(root.dataset.limit);
  const pictures = [];

  function show() {
    for (const each of pictures.splice(0)) URL.revokeObjectURL(each);
    list.replaceChildren(...[...input.files].map((file) => {
      const line = document.createElement("li");
      line.className = "file";
      if (file.type.startsWith("image/") && file.type !== "image/svg+xml") {
        const picture = document.createElement("img");
        picture.src = URL.createObjectURL(file);
        pictures.push(picture.src);
        picture.alt = "";
        picture.width = 40;
        picture.height = 40;
        const frame = document.createElement("span");
        frame.className = "file-picture";
        frame.append(picture);
        line.append(frame);
      }
      const name = document.createElement("span");
      name.className = "grow cut";
      name.textContent = `${file.name} · ${sized(file.size)}`;
      line.append(name);
      if (limit && file.size > limit) {
        const wrong = document.createElement("span");
        wrong.className = "error";
        wrong.textContent = root.dataset.tooLarge;
        line.append(wrong);
      }
      return line;
    }));
  }
  function take(files) {
    const all = new DataTransfer();
    for (const file of input.multiple ? [...input.files, ...files] : [...files].slice(0, 1)) all.items.add(file);
    input.files = all.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }
  input.addEventListener("change", show);
  for (const name of ["dragover", "dragenter"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("is-over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("is-over"));
  drop.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files); });
  root.addEventListener("paste", (event) => { if (event.clipboardData.files.length) { event.preventDefault(); take(event.clipboardData.files); } });
  return () => { for (const each of pictures) URL.revokeObjectURL(each); };
}
