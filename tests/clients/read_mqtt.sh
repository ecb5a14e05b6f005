#!/bin/sh
# Read a station's verdicts from a broker: sh tests/clients/read_mqtt.sh HOST PORT VERDICTS [PREFIX]
# Needs only mosquitto_sub. Prints `topic JSON`, one line a verdict, and ends after so many.
exec mosquitto_sub -h "$1" -p "$2" -q 1 -v -t "${4:-edgeapp}/verdict" -C "$3" -W 30
