#!/bin/bash
# Installs, completes or upgrades the worker as a service of this PC; see --help. Doing it again does no harm.
set -euo pipefail

usage() {
    cat <<'HELP'
Usage: systemd/install.sh [--instances NAME,NAME] [--env FILE] [--cpu] [--venv DIR] [--dry-run] ...
       systemd/install.sh --upgrade [--force] [--cpu] [--venv DIR] [--dry-run] ...

Installs the worker of this folder (a clone or an unpacked tarball) as the service pc-worker@INSTANCE, and starts it as
soon as `doctor` finds nothing wrong. Run it again at any time: what is there stays, what is missing is added. Settings
files (/etc/pc-worker/*.env) are never overwritten.

  --instances NAMES  workers on this PC, with commas between; otherwise gpu0, gpu1 ... one per GPU found, or else cpu
  --env FILE         settings for all workers of this PC: becomes /etc/pc-worker/common.env if there is none
  --upgrade          install this folder's version beside the old one, ask its `doctor`, let the workers finish, switch,
                     start; if it does not come up, go back to the old version
  --force            upgrade although `doctor` finds something
  --cpu              install the build of torch without CUDA, from https://download.pytorch.org/whl/cpu (TORCH_INDEX=URL
                     names another index)
  --venv DIR         use the packages in this virtual environment instead of installing any
  --settle SECONDS   how long an upgraded worker must stay up until it counts as running (default 10)
  --prefix DIR       put everything below DIR, for packagers and tests: owned by the caller, no user is made, and
                     systemd is left alone
  --dry-run          say what would be done, and do none of it
  --help             this text

PYTHON=/path/to/python3.11 names the Python to use. SYSTEMCTL=PROGRAM is called instead of systemctl, where systemd does
not run or with --prefix.
HELP
}

say() { echo "$*"; }

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

act() { # SENTENCE COMMAND ...: every change goes through here
    say "${dry_run:+would }$1"
    shift
    [[ $dry_run ]] || "$@"
}

SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# Named one by one, so that no .env, recording or log of a clone ever gets into /opt.
PAYLOAD=(.env.example CHANGELOG.md LICENSE Makefile README.md constraints.txt pyproject.toml requirements-nodeps.txt
    requirements.txt systemd worker)
PACKAGES_MB=9000

dry_run='' upgrade='' force='' cpu='' venv='' prefix='' instances='' env_file='' settle_s=10
while [[ $# -gt 0 ]]; do
    case $1 in
        --help) usage && exit ;;
        --dry-run) dry_run=yes ;;
        --upgrade) upgrade=yes ;;
        --force) force=yes ;;
        --cpu) cpu=yes ;;
        --instances | --env | --venv | --settle | --prefix)
            [[ ${2:-} ]] || fail "$1 needs a value; see --help"
            case $1 in
                --instances) instances=$2 ;;
                --env) env_file=$(realpath -- "$2") ;;
                --venv) venv=$(realpath -s -- "$2") ;;
                --settle) settle_s=$2 ;;
                --prefix) prefix=$(realpath -m -- "$2") ;;
            esac
            shift
            ;;
        *) fail "unknown option $1; see --help" ;;
    esac
    shift
done

OPT=$prefix/opt/pc-worker
ETC=$prefix/etc/pc-worker
UNITS=$prefix/etc/systemd/system
USER_NAME=pc-worker GROUP_NAME=pc-worker
[[ -z $prefix ]] || { USER_NAME=$(id -un) && GROUP_NAME=$(id -gn); }

# --- what is there -----------------------------------------------------------------------------------------------------

systemctl_program() { # empty where there is no systemd to talk to
    if [[ ${SYSTEMCTL:-} ]]; then echo "$SYSTEMCTL"; elif [[ -z $prefix && -d /run/systemd/system ]]; then echo systemctl; fi
}

find_python() {
    local candidate
    local candidates=("${PYTHON:-python3.11}" python3)
    [[ -z $venv ]] || candidates=("$venv/bin/python")
    for candidate in "${candidates[@]}"; do
        command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
            && command -v "$candidate" && return
    done
    [[ -z $venv ]] || fail "$venv is no virtual environment of Python 3.11"
    fail "Python 3.11 is needed. Debian 12: apt-get install python3 python3-venv. Elsewhere: PYTHON=/path/to/python3.11 $0 ..."
}

check_machine() {
    [[ $EUID -eq 0 || $prefix || $dry_run ]] || fail "this changes the system: run it with sudo (or look first: --dry-run)"
    python=$(find_python)
    [[ $venv ]] && return
    command -v make >/dev/null || fail "make is needed: apt-get install make"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "the venv module is missing: apt-get install python3-venv"
}

installed_version() { [[ ! -L $OPT/$1 ]] || basename "$(readlink "$OPT/$1")"; } # current or previous

version_of_source() { # number and content, so that a clone, a tarball and a changed clone are told apart alike
    local number content
    number=$(sed -n 's/^version = "\(.*\)"/\1/p' "$SOURCE/pyproject.toml")
    content=$(cd "$SOURCE" && find "${PAYLOAD[@]}" -type f ! -path '*/__pycache__/*' -print0 | LC_ALL=C sort -z \
        | xargs -0 sha256sum | sha256sum)
    echo "$number-${content:0:10}"
}

packages_id() { # equal requirements share one folder of packages, so that most upgrades download nothing
    local content
    content=$(cd "$SOURCE" && { cat requirements.txt requirements-nodeps.txt constraints.txt && echo "$python $cpu"; } | sha256sum)
    echo "${content:0:10}"
}

configured_instances() {
    local file
    for file in "$ETC"/*.env; do
        [[ $file == */common.env || ! -e $file ]] || basename "$file" .env
    done
}

wanted_instances() { # named, or there already, or one per GPU
    local num_gpus
    if [[ $instances ]]; then tr ',' '\n' <<<"$instances" && return; fi
    if [[ $(configured_instances) ]]; then configured_instances && return; fi
    num_gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ') || true
    if [[ $num_gpus -gt 0 ]]; then seq -f 'gpu%g' 0 $((num_gpus - 1)); else echo cpu; fi
}

# --- one version -------------------------------------------------------------------------------------------------------

copy_code() {
    rm -rf "$1"
    mkdir "$1"
    tar -C "$SOURCE" --exclude=__pycache__ --no-same-owner -cf - "${PAYLOAD[@]}" | tar -C "$1" --no-same-owner -xf -
    chmod -R u=rwX,go=rX "$1"
}

pinned() { grep -h "^$1==" "$SOURCE/constraints.txt"; }

install_packages() { # FOLDER VERSION_FOLDER
    rm -rf "$1"
    "$python" -m venv "$1"
    ln -sfn "$1" "$2/.venv"
    if [[ $cpu ]]; then # before the rest, which then finds torch there and leaves the CUDA libraries out
        "$1/bin/python" -m pip --disable-pip-version-check install --quiet -c "$SOURCE/constraints.txt" \
            --index-url "${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}" --extra-index-url https://pypi.org/simple \
            "$(pinned torch)+cpu" "$(pinned torchaudio)+cpu" "$(pinned torchvision)+cpu"
    fi
    make -s -C "$2" install
    touch "$1/.complete"
}

compile_code() { # the service may not write there
    "$1/.venv/bin/python" -m compileall -q "$1/worker"
    touch "$1/.complete"
}

place_version() { # VERSION: code and packages beside what runs; nothing is switched
    local folder=$OPT/$1 packages
    packages=$OPT/packages/$(packages_id)
    [[ ! -e $folder/.complete ]] || return 0
    act "copy the code to $folder" copy_code "$folder"
    if [[ $venv ]]; then
        act "use the packages in $venv" ln -sfn "$venv" "$folder/.venv"
    elif [[ -e $packages/.complete ]]; then
        act "use the packages in $packages, which fit" ln -sfn "$packages" "$folder/.venv"
    else
        check_space
        act "install the packages into $packages (this takes some minutes)" install_packages "$packages" "$folder"
    fi
    act "compile the code" compile_code "$folder"
}

check_space() {
    local free_mb
    [[ -d $OPT ]] || return 0
    free_mb=$(df -Pm "$OPT" | awk 'NR == 2 {print $4}')
    [[ $cpu || $free_mb -gt $PACKAGES_MB ]] || fail "the packages need $PACKAGES_MB MB, and $free_mb MB are free on the disk of $OPT"
}

switch_to() { # VERSION: atomic; units and command come from it too
    ln -sfn "$1" "$OPT/.next"
    mv -T "$OPT/.next" "$OPT/current"
    install -d -m 755 "$UNITS" "$prefix/usr/local/bin" "$prefix/etc/polkit-1/rules.d"
    install -m 644 "$OPT/$1"/systemd/*.service "$OPT/$1"/systemd/*.target "$UNITS/"
    install -m 644 "$OPT/$1/systemd/pc-worker.rules" "$prefix/etc/polkit-1/rules.d/50-pc-worker.rules"
    ln -sfn "$OPT/current/systemd/pc-worker" "$prefix/usr/local/bin/pc-worker"
    [[ -z $systemctl ]] || "$systemctl" daemon-reload
}

remove_old_versions() { # all but the one that runs and the one before
    local folder
    for folder in "$OPT"/*/; do
        folder=$(basename "$folder")
        [[ $folder =~ ^(current|previous|packages)$ || $folder == "$(installed_version current)" \
            || $folder == "$(installed_version previous)" ]] || act "remove the old version $folder" rm -rf "${OPT:?}/$folder"
    done
    for folder in "$OPT"/packages/*/; do
        folder=${folder%/}
        [[ ! -d $folder || $(find "$OPT" -mindepth 2 -maxdepth 2 -name .venv -lname "$folder") ]] \
            || act "remove the packages in $folder, which no version uses" rm -rf "$folder"
    done
}

# --- user, folders, settings -------------------------------------------------------------------------------------------

make_user() {
    [[ $prefix ]] || getent passwd "$USER_NAME" >/dev/null || act "create the user $USER_NAME" \
        useradd --system --user-group --home-dir /var/lib/pc-worker --no-create-home --shell /usr/sbin/nologin "$USER_NAME"
}

make_folder() { # PATH OWNER GROUP MODE
    [[ -d $1 ]] || act "create $1" install -d -o "$2" -g "$3" -m "$4" "$1"
}

make_folders() {
    local root=root kind instance
    [[ -z $prefix ]] || root=$USER_NAME
    make_folder "$OPT" "$root" "$GROUP_NAME" 755
    make_folder "$ETC" "$root" "$GROUP_NAME" 750
    for kind in lib cache log; do
        make_folder "$prefix/var/$kind/pc-worker" "$USER_NAME" "$GROUP_NAME" 755
    done
    make_folder "$prefix/var/lib/pc-worker/recordings" "$USER_NAME" "$GROUP_NAME" 750
    for instance in "$@"; do
        make_folder "$prefix/var/lib/pc-worker/$instance" "$USER_NAME" "$GROUP_NAME" 750
        make_folder "$prefix/var/log/pc-worker/$instance" "$USER_NAME" "$GROUP_NAME" 750
    done
}

write_once() { # FILE: from stdin, unless it is there; keys are in it
    [[ ! -e $1 ]] || return 0
    act "write $1" install -m 640 -g "$GROUP_NAME" /dev/stdin "$1"
}

common_settings() {
    if [[ $env_file ]]; then cat "$env_file" && return; fi
    cat <<'ENV'
# Settings of every worker on this PC: NAME=value. /opt/pc-worker/current/.env.example explains all of them.
# WORKER_ID and the folders do not belong here: each worker has its own.
SUPABASE_URL=
SUPABASE_KEY=
SUPABASE_WORKER_TOKEN=
ENV
}

instance_settings() {
    echo "# Settings of pc-worker@$1 alone; they win over common.env."
    case $1 in
        gpu[0-9]*) echo "CUDA_DEVICE=${1#gpu}" ;;
        cpu) echo "ENABLE_GPU=false" ;;
    esac
}

write_settings() {
    local instance
    write_once "$ETC/common.env" < <(common_settings)
    for instance in "$@"; do
        write_once "$ETC/$instance.env" < <(instance_settings "$instance")
    done
}

# --- the service -------------------------------------------------------------------------------------------------------

enable_service() {
    local unit
    [[ $systemctl ]] || return 0
    for unit in pc-worker.target "${@/#/pc-worker@}"; do
        "$systemctl" is-enabled --quiet "$unit" 2>/dev/null || act "enable $unit" "$systemctl" enable --quiet "$unit"
    done
}

is_fit() { # VERSION INSTANCE: asks its doctor, as the service's user with the service's settings
    say "doctor of pc-worker@$2:"
    "$OPT/$1/systemd/pc-worker" -i "$2" doctor
}

start_fit() { # starts what doctor has nothing against, and says what to do about the others
    local instance unfit=()
    for instance in "$@"; do
        if ! is_fit "$version" "$instance"; then
            unfit+=("$instance")
        elif [[ $systemctl ]]; then
            act "start pc-worker@$instance" "$systemctl" start "pc-worker@$instance" \
                || fail "pc-worker@$instance does not start; look into: journalctl -u pc-worker@$instance"
        fi
    done
    say "Installed: version $version."
    if [[ ${unfit[*]} ]]; then
        say "Not started: ${unfit[*]}. Correct what doctor says above (settings: $ETC/common.env and $ETC/NAME.env), then run this again."
    elif [[ ! $systemctl ]]; then
        say "systemd was left alone. Where it runs: systemctl daemon-reload && systemctl enable --now pc-worker.target" "${@/#/pc-worker@}"
    fi
}

running_instances() { # one that crashes again and again counts, one that somebody stopped does not
    local instance
    [[ $systemctl ]] || return 0
    for instance in $(configured_instances); do
        [[ $("$systemctl" is-active "pc-worker@$instance") == inactive ]] || echo "$instance"
    done
}

stop_all() { # SIGTERM: each finishes or gives back its meetings, as long as the unit's TimeoutStopSec lets it
    [[ $# -eq 0 ]] || "$systemctl" stop "${@/#/pc-worker@}"
}

come_up() { # Type=notify: start returns when the worker is ready, or has failed
    local instance end=$((SECONDS + settle_s))
    [[ $# -gt 0 ]] || return 0
    "$systemctl" start "${@/#/pc-worker@}" || return 1
    while true; do
        for instance in "$@"; do
            [[ $("$systemctl" is-active "pc-worker@$instance") == active ]] || return 1
        done
        [[ $SECONDS -lt $end ]] || return 0
        sleep 1
    done
}

go_back() {
    trap - EXIT
    echo "The new version does not come up (journalctl -u 'pc-worker@*' says why). Going back to $old." >&2
    stop_all "${running[@]}" || true
    switch_to "$old"
    [[ ! ${running[*]} ]] || "$systemctl" reset-failed "${running[@]/#/pc-worker@}" || true
    come_up "${running[@]}" || fail "the old version does not come up either; look into: journalctl -u 'pc-worker@*'"
    fail "version $old runs again; nothing else was changed"
}

# --- the two acts ------------------------------------------------------------------------------------------------------

install_here() {
    local current
    current=$(installed_version current)
    [[ -z $current || $current == "$version" ]] || fail "version $current is installed. To replace it: $0 --upgrade"
    make_user
    make_folders "$@"
    place_version "$version"
    write_settings "$@"
    [[ $current && -e $UNITS/pc-worker@.service ]] || act "install the units, and the command pc-worker" switch_to "$version"
    enable_service "$@"
    [[ $dry_run ]] || start_fit "$@"
}

check_new_version() {
    local instance
    [[ $dry_run ]] && return
    for instance in $(configured_instances); do
        is_fit "$version" "$instance" || [[ $force ]] \
            || fail "nothing was switched: correct what doctor says above, then run this again (or add --force)"
    done
}

upgrade_here() {
    old=$(installed_version current)
    [[ $old ]] || fail "nothing is installed yet: run it without --upgrade"
    [[ $old != "$version" ]] || { say "Version $version is installed already." && return; }
    place_version "$version"
    check_new_version
    mapfile -t running < <(running_instances)
    if [[ ! $dry_run ]]; then # whatever ends this script from here on
        trap 'exit 1' INT TERM HUP
        trap go_back EXIT
    fi
    act "stop ${running[*]:-no worker, none runs}: a meeting in progress is finished or given back" stop_all "${running[@]}"
    act "switch from $old to $version" switch_to "$version"
    act "start ${running[*]:-no worker}" come_up "${running[@]}"
    trap - EXIT
    act "remember $old as the version before" ln -sfn "$old" "$OPT/previous"
    remove_old_versions
    [[ $dry_run ]] || say "Upgraded to version $version."
}

check_machine
systemctl=$(systemctl_program)
version=$(version_of_source)
if [[ $upgrade ]]; then
    [[ -z $instances$env_file ]] || fail "--upgrade changes no instances and no settings: leave --instances and --env out"
    upgrade_here
else
    mapfile -t wanted < <(wanted_instances)
    for name in "${wanted[@]}"; do
        [[ $name =~ ^[a-z0-9][a-z0-9_-]{0,30}$ && ! $name =~ ^(common|recordings)$ ]] || fail "'$name' cannot be an instance: small letters, digits, - and _"
    done
    install_here "${wanted[@]}"
fi
