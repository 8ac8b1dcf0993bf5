#!/bin/sh
# Dagster reads its instance from DAGSTER_HOME and nowhere else: put it there, then become the command.
set -eu
mkdir -p "$DAGSTER_HOME"
beside=$(mktemp "$DAGSTER_HOME/dagster.yaml.XXXXXX")
cat dagster.yaml ${CER_INSTANCE_FILE:+"$CER_INSTANCE_FILE"} >"$beside"
mv "$beside" "$DAGSTER_HOME/dagster.yaml"
exec "$@"
