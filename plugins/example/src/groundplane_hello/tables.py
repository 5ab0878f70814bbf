"""The plugin's own tables; `piccolo migrations new hello --auto` writes what changes them."""

from __future__ import annotations

from piccolo.columns import Integer, Text
from piccolo.table import Table


class Greeting(Table, tablename="greetings", schema="x_hello"):
    """How many records of a collection were greeted."""

    collection = Text(primary_key=True)
    count = Integer()
