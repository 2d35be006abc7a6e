#!/bin/bash
# Removes the worker's service from this PC; see --help. Doing it again does no harm.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: systemd/uninstall.sh [--purge] [--prefix DIR] [--dry-run]

Stops the workers (a meeting in progress is finished or given back), and removes units and code. Settings, data, models
and logs stay.

  --purge       remove these too, and the user pc-worker
  --prefix DIR  what install.sh --prefix DIR has put there
  --dry-run     say what would be done, and do none of it
  --help        this text

SYSTEMCTL=PROGRAM is called instead of systemctl, where systemd does not run or with --prefix.
HELP
}

fail() {
    echo "uninstall.sh: $*" >&2
    exit 1
}

act() { # SENTENCE COMMAND ...: every change goes through here
    echo "${dry_run:+would }$1"
    shift
    [[ $dry_run ]] || "$@"
}

remove() {
    local path
    for path in "$@"; do
        [[ ! -e $path && ! -L $path ]] || act "remove $path" rm -rf "$path"
    done
}

installed_units() {
    local file
    echo pc-worker.target
    for file in "$prefix"/etc/pc-worker/*.env; do
        [[ $file == */common.env || ! -e $file ]] || echo "pc-worker@$(basename "$file" .env).service"
    done
}

dry_run='' purge='' prefix=''
while [[ $# -gt 0 ]]; do
    case $1 in
        --help) usage && exit ;;
        --dry-run) dry_run=yes ;;
        --purge) purge=yes ;;
        --prefix) prefix=$(realpath -m -- "${2:?uninstall.sh: --prefix needs a folder}") && shift ;;
        *) fail "unknown option $1; see --help" ;;
    esac
    shift
done
[[ $EUID -eq 0 || $prefix || $dry_run ]] || fail "this changes the system: run it with sudo (or look first: --dry-run)"
systemctl=${SYSTEMCTL:-}
[[ $systemctl || $prefix || ! -d /run/systemd/system ]] || systemctl=systemctl

mapfile -t units < <(installed_units)
if [[ $systemctl && -e $prefix/etc/systemd/system/pc-worker@.service ]]; then
    act "stop and disable ${units[*]}" "$systemctl" disable --quiet --now "${units[@]}"
fi
remove "$prefix/etc/systemd/system/"pc-worker{@.service,.target} "$prefix/etc/polkit-1/rules.d/50-pc-worker.rules" \
    "$prefix/usr/local/bin/pc-worker" "$prefix/opt/pc-worker"
[[ ! $systemctl || $dry_run ]] || "$systemctl" daemon-reload
if [[ $purge ]]; then
    remove "$prefix"/etc/pc-worker "$prefix"/var/{lib,cache,log}/pc-worker
    [[ $prefix ]] || ! getent passwd pc-worker >/dev/null || act "remove the user pc-worker" userdel pc-worker
fi
[[ $dry_run || $purge ]] || echo "Settings, data and logs stay in /etc/pc-worker and /var/{lib,cache,log}/pc-worker; --purge removes them."
