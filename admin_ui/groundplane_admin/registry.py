"""What screens there are: each family of screens is a module of `pages` that says here what it adds."""

from __future__ import annotations

import pkgutil
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection
    from groundplane_admin.visits import Visit

GROUPS = ("access", "operate", "build")
Rendered: TypeAlias = "tuple[str, object]"
"""A template and the struct that it gets as `page`."""


class NavItem(NamedTuple):
    """A line of the sidebar. `group` is one of GROUPS; `label` is a name of the catalogue.

    `badge` gives a short text when something needs attention ("" when not); it must be quick: it is asked
    for every whole page.
    """

    group: str
    label: str
    href: str
    icon: str
    order: int = 100
    badge: Callable[[Visit], Awaitable[str]] | None = None


class Command(NamedTuple):
    """A line of the command palette; `words` are further words (of the catalogue) it is found by."""

    label: str
    href: str
    icon: str = "arrow"
    words: str = ""
    keys: str = ""


class SettingsSection(NamedTuple):
    """A section of the settings, at `/_/settings/<name>`; its own handler answers there."""

    name: str
    label: str
    order: int = 100


class CollectionLink(NamedTuple):
    """A link in the header of a collection, to `/_/c/<collection>/<path>`; `applies` says for which."""

    path: str
    label: str
    order: int = 100
    applies: Callable[[Collection], bool] = lambda collection: True


class RecordTab(NamedTuple):
    """A tab of a record's panel, at `/_/c/<collection>/r/<id>/<name>`.

    `render` gets the visit, the collection and the record's id; its template is a fragment without a frame.
    """

    name: str
    label: str
    render: Callable[[Visit, Collection, str], Awaitable[Rendered]]
    order: int = 100
    applies: Callable[[Visit, Collection], bool] = lambda visit, collection: True


class HomeCard(NamedTuple):
    """A card of the home page; `render` gives None when there is nothing to show. `order` is urgency."""

    name: str
    render: Callable[[Visit], Awaitable[Rendered | None]]
    order: int = 100


class Screen(msgspec.Struct, frozen=True, kw_only=True):
    """What one module of `pages` adds. Handlers have full paths below `/_/` and get only superusers.

    `open_handlers` are those that answer guests, too.
    """

    handlers: Sequence[Any] = ()
    open_handlers: Sequence[Any] = ()
    nav: Sequence[NavItem] = ()
    commands: Sequence[Command] = ()
    settings: Sequence[SettingsSection] = ()
    collection_links: Sequence[CollectionLink] = ()
    record_tabs: Sequence[RecordTab] = ()
    home_cards: Sequence[HomeCard] = ()


@cache
def screens() -> tuple[Screen, ...]:
    """The `SCREEN` of every module of `pages`, by the modules' names."""
    from groundplane_admin import pages

    names = sorted(info.name for info in pkgutil.iter_modules(pages.__path__, f"{pages.__name__}."))
    found = [getattr(import_module(name), "SCREEN", None) for name in names]
    return tuple(screen for screen in found if isinstance(screen, Screen))


@cache
def nav_items(group: str) -> tuple[NavItem, ...]:
    """The sidebar's lines of one group, in their order."""
    items = [item for screen in screens() for item in screen.nav if item.group == group]
    return tuple(sorted(items, key=lambda item: item.order))


@cache
def commands() -> tuple[Command, ...]:
    """What the palette offers beside collections and records: commands, pages and settings."""
    found = [command for screen in screens() for command in screen.commands]
    found += [Command(item.label, item.href, item.icon) for group in GROUPS for item in nav_items(group)]
    found += [
        Command(section.label, f"/_/settings/{section.name}", "settings", "nav.settings")
        for section in settings_sections()
    ]
    return tuple(found)


@cache
def settings_sections() -> tuple[SettingsSection, ...]:
    found = [section for screen in screens() for section in screen.settings]
    return tuple(sorted(found, key=lambda section: section.order))


@cache
def collection_links() -> tuple[CollectionLink, ...]:
    found = [link for screen in screens() for link in screen.collection_links]
    return tuple(sorted(found, key=lambda link: link.order))


@cache
def record_tabs() -> tuple[RecordTab, ...]:
    found = [tab for screen in screens() for tab in screen.record_tabs]
    return tuple(sorted(found, key=lambda tab: tab.order))


@cache
def home_cards() -> tuple[HomeCard, ...]:
    found = [card for screen in screens() for card in screen.home_cards]
    return tuple(sorted(found, key=lambda card: card.order))
