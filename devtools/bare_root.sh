#!/usr/bin/env bash
# Proves that a fresh Debian 12 with nothing but Python 3.11 and git runs the system, and prints how long each step took.
#
#   devtools/bare_root.sh [--tests] [--all] [--only ARGUMENTS] [--keep] [--root DIR] [--port N]
#
# Makes a bare root with mmdebstrap (installed if missing), clones this repository's HEAD into it, and in it runs
# ./dev up --detach, status, demo, (with --tests) test, down; then up, demo and down as an ordinary user. Needs root. The
# root's network is this machine's: the apt sources, certificates, pip and Maven settings and proxy variables of this machine are
# copied, so that the registries are reached the same way.
# --all: test --all, which installs packages. --only 'tests/deploy -k image': the tests with these arguments. --keep leaves the root folder for looking around;
# --root with one that was kept goes on there, with this repository's HEAD.
set -Eeuo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
root="" keep=0 tests=0 all="" only="" port=8000 bundle=/etc/ssl/host-certificates.crt
while [ $# -gt 0 ]; do
    case "$1" in
        --tests) tests=1 ;;
        --all) tests=1 all=--all ;;
        --only) tests=1 only=$2; shift ;;
        --keep) keep=1 ;;
        --root) root=$2; shift ;;
        --port) port=$2; shift ;;
        *) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || { echo "bare_root: needs root, for mounts" >&2; exit 1; }

if [ -z "${BARE_ROOT_INNER:-}" ]; then
    # Mounts and processes of our own: both vanish with us, whatever happens.
    root=${root:-$(mktemp -d /tmp/bare-root.XXXXXX)}
    flags=()
    if [ "$tests" = 1 ]; then flags+=(--tests); fi
    if [ -n "$all" ]; then flags+=(--all); fi
    if [ -n "$only" ]; then flags+=(--only "$only"); fi
    status=0
    BARE_ROOT_INNER=1 unshare --mount --pid --fork --kill-child -- "$0" --root "$root" --port "$port" "${flags[@]}" || status=$?
    if [ "$keep" = 1 ]; then echo "kept $root"; else rm -rf --one-file-system "$root"; fi
    exit "$status"
fi

now() { date +%s.%N; }
since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f", b - a }'; }
lines=() name="the start"
trap 'echo "bare_root: FAILED at: $name" >&2' ERR
step() { # NAME COMMAND…
    name=$1
    local started
    shift
    echo "== $name"
    started=$(now)
    "$@"
    last=$(since "$started")
    lines+=("$(printf '%-46s %7s s' "$name" "$last")")
}

make_root() {
    if ! command -v mmdebstrap >/dev/null; then
        apt-get update -q > /dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mmdebstrap >/dev/null
    fi
    local source
    source=$(grep -lsE 'bookworm' /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list | head -1 || true)
    mkdir -p "$root"
    if [ -e "$root/srv/whatsapp" ]; then mount_root; return; fi
    mmdebstrap --quiet --mode=root --variant=minbase --include=python3,git bookworm "$root" ${source:+"$source"}
    mkdir -p "$root/etc/ssl" "$root/srv"
    # Under a name of its own: python3-venv brings ca-certificates, which writes its bundle anew.
    cp -L /etc/ssl/certs/ca-certificates.crt "$root$bundle" 2>/dev/null || true
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
    if [ -e /etc/pip.conf ]; then sed "s#^cert *=.*#cert = $bundle#" /etc/pip.conf > "$root/etc/pip.conf"; fi
    # Where Cassandra's jars come from (devtools/maven.py).
    if [ -e "$HOME/.m2/settings.xml" ]; then install -D -m 600 "$HOME/.m2/settings.xml" "$root/root/.m2/settings.xml"; fi
    for file in /etc/apt/apt.conf.d/*[Pp]roxy*; do
        if [ -e "$file" ]; then cp "$file" "$root/etc/apt/apt.conf.d/"; fi
    done
    mount_root
}

mount_root() {
    # A mount of its own: Java asks what file system a path is on, and finds none where the root is an ordinary folder.
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir -p "$root/dev/shm"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mkdir -p "$root/dev/pts"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
}

# The root folder is the root of a mount namespace of its own: in a chroot the kernel makes no user namespaces, which tools of
# media are run in.
readonly ENTER='cd "$1" && mkdir -p .before && pivot_root . .before && shift && exec "$@"'
readonly LEAVE='import ctypes, os; ctypes.CDLL(None).umount2(b"/.before", 2); os.rmdir("/.before")'

inside() { # COMMAND…  in the bare root, with a clean environment but for how the registries are reached
    local pass=() variable
    while IFS='=' read -r -d '' variable _; do
        case "$variable" in
            PIP_FIND_LINKS) ;;
            PIP_CERT | SSL_CERT_FILE | REQUESTS_CA_BUNDLE | CURL_CA_BUNDLE | GIT_SSL_CAINFO) pass+=("$variable=$bundle") ;;
            PIP_* | *_proxy | *_PROXY | MAVEN_CENTRAL_URL | npm_config_registry) pass+=("$variable=${!variable}") ;;
        esac
    done < /proc/self/environ
    unshare --mount --propagation private -- /bin/sh -c "$ENTER" sh "$root" \
        /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb "${pass[@]}" \
        /bin/sh -c 'cd / && python3 -c "$0" && { cd /srv/whatsapp 2>/dev/null || cd /; } && exec "$@"' "$LEAVE" "$@" < /dev/null
}

ordinary() { # COMMAND…  the same as an ordinary user, in a clone of their own
    inside setpriv --reuid=1000 --regid=1000 --clear-groups -- env HOME=/home/dev sh -c 'cd /home/dev/whatsapp && exec "$@"' sh "$@"
}
says_what_is_missing() {
    local said
    mkdir -p "$root/home/dev"
    echo "dev:x:1000:1000::/home/dev:/bin/sh" >> "$root/etc/passwd"
    git clone -q --no-hardlinks "file://$repo" "$root/home/dev/whatsapp"
    chown -R 1000:1000 "$root/home/dev"
    if said=$(ordinary ./dev up --detach 2>&1); then return 1; fi
    echo "$said"
    grep -q 'sudo apt-get install python3-venv' <<< "$said" && ! grep -q Traceback <<< "$said"
}

clone() {
    if [ -e "$root/srv/whatsapp" ]; then
        git -C "$root/srv/whatsapp" fetch -q origin HEAD
        git -C "$root/srv/whatsapp" reset -q --hard FETCH_HEAD
    else
        git clone -q --no-hardlinks "file://$repo" "$root/srv/whatsapp"
    fi
}
all_up() { inside ./dev status --json; }
gone() { # nothing of the data folder is left: the processes of this namespace are ours alone
    local left
    left=$(inside python3 -c "
import os, pathlib, re
for proc in pathlib.Path('/proc').glob('[0-9]*'):
    words = (proc / 'cmdline').read_bytes().replace(b'\0', b' ').decode()
    if proc.name != str(os.getpid()) and re.search('^postgres|valkey-server|whatsapp[.]serve|celery', words): print(proc.name, words)")
    [ -z "$left" ] || { echo "still there: $left" >&2; return 1; }
}

step "making a bare Debian 12 (python3, git)" make_root
if [ ! -e "$root/srv/whatsapp" ]; then
    step "an ordinary user is told what is missing" says_what_is_missing
fi
started=$(now)
step "clone" clone
step "downloads: what ./dev up installs (apt, pip)" inside ./dev install --runtime
downloads=$last
step "./dev up --detach" inside ./dev up --detach --port "$port"
step "./dev status --json" all_up
step "./dev demo" inside ./dev demo
total=$(since "$started")
step "./dev up again (changes nothing)" inside ./dev up --detach --port "$port"
if [ "$tests" = 1 ]; then
    # shellcheck disable=SC2086 # several words
    step "./dev test $all $only" inside ./dev test $all $only
fi
step "./dev down" inside ./dev down
step "no process is left" gone
step "as an ordinary user: ./dev up --detach" ordinary ./dev up --detach --port "$port"
step "as an ordinary user: ./dev demo" ordinary ./dev demo
step "as an ordinary user: ./dev down" ordinary ./dev down
step "no process is left" gone

echo
printf '%s\n' "${lines[@]}"
awk -v t="$total" -v d="$downloads" 'BEGIN {
    printf "%-46s %7.1f s  (of which downloads %.1f s: without them %.1f s)\n", "from clone to the end of the demo", t, d, t - d }'
