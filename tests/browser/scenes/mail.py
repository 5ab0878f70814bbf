"""Mails and a template with its preview."""

from __future__ import annotations

from tests.browser.screenshots import Scene

SCENES = [Scene("mail", "/_/mail"), Scene("mail-template", "/_/mail/users/verification")]
