#!/usr/bin/env bash
# Runs an experiment file on the Ray that this machine belongs to; started again after a crash, it goes on with what the
# store holds, so that a scheduler may retry it as often as it likes.
#
#     run_or_go_on.sh SPEC NAME
#
# SPEC is the experiment file, NAME the name that the experiment gets and by which it is found again: one name for each
# experiment that is to run from its beginning. Store and files are where GROWRES_DATABASE_URL and GROWRES_HOME say.
set -uo pipefail

if [ $# -ne 2 ]; then
    echo "usage: run_or_go_on.sh SPEC NAME" >&2
    exit 2
fi
spec=$1
name=$2

python -m growres status "$name" >/dev/null
known=$?
case $known in
0) exec python -m growres drive "$name" ;;
2) exec python -m growres submit "$spec" --set "name=$name" --backend local --address auto --needed ;;
# The store is away: to submit now could run the experiment a second time once it is back.
*) exit "$known" ;;
esac
