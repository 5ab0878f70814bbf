"""Query parameters shared by lists: page, perPage, sort, filter, expand, skipTotal."""

from __future__ import annotations

from groundplane.api.exchange import Exchange
from groundplane.records.paging import ListRequest, list_request

FIELDS = "fields"


def list_params(exchange: Exchange) -> ListRequest:
    """Read the parameters of a list; raises Invalid for those that cannot be read."""
    return list_request(exchange.query)


def fields_param(exchange: Exchange) -> str:
    """What the client wants to see of the answer; "" is everything."""
    return exchange.query.get(FIELDS, "")
