"""For the command `piccolo`, which writes migrations here; the server runs them and does not read this file."""

from piccolo.conf.apps import AppRegistry
from piccolo.engine.postgres import PostgresEngine

DB = PostgresEngine(config={})
APP_REGISTRY = AppRegistry(apps=["groundplane_hello.piccolo_app"])
