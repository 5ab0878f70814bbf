"""Loads the S3 server."""

from __future__ import annotations

from groundplane.testing import s3

bucket, s3_server = s3.bucket, s3.s3_server
