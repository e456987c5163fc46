# shellcheck shell=bash
# The daemon as a service: a systemd unit where systemd runs, a process with a pid file elsewhere.
# Callers set STATE_DIR and LISTEN, and those that start it EDGESTACK_NETWORKS, and source outside.sh.

SERVICE_UNIT=edgestackd.service

# Also that of the user's own manager, which a plain su does not bring.
has_systemd() {
    [ -d /run/systemd/system ] && { is_root || systemctl --user show-environment >/dev/null 2>&1; }
}

# systemctl_here ...: the system's manager for root, the user's own otherwise.
systemctl_here() {
    if is_root; then
        systemctl "$@"
    else
        systemctl --user "$@"
    fi
}

unit_file() {
    if is_root; then
        printf '/etc/systemd/system/%s\n' "$SERVICE_UNIT"
    else
        printf '%s/systemd/user/%s\n' "${XDG_CONFIG_HOME:-$HOME/.config}" "$SERVICE_UNIT"
    fi
}

pid_file() {
    printf '%s/edgestackd.pid\n' "$STATE_DIR"
}

daemon_log() {
    printf '%s/log/edgestackd.log\n' "$STATE_DIR"
}

# daemon_process: "PID START_TIME" of the running daemon of this state dir; fails where none runs.
daemon_process() {
    local pid start_time
    if has_systemd && unit_is_ours; then
        pid=$(systemctl_here show --property=MainPID --value "$SERVICE_UNIT" 2>/dev/null) || return 1
        [ -n "$pid" ] && [ "$pid" != 0 ] || return 1
        start_time=$(process_start_time "$pid") || return 1
        printf '%s %s\n' "$pid" "$start_time"
        return 0
    fi
    { read -r pid start_time <"$(pid_file)"; } 2>/dev/null || return 1
    process_is "$pid" "$start_time" || return 1
    printf '%s %s\n' "$pid" "$start_time"
}

# One unit a user: another state dir's is not ours to touch.
unit_is_ours() {
    [ -f "$(unit_file)" ] && grep --quiet --fixed-strings -- "--state-dir $STATE_DIR " "$(unit_file)"
}

# daemon_arguments: one a line.
daemon_arguments() {
    printf '%s\n' --state-dir "$STATE_DIR" --listen "$LISTEN"
    if has_outside; then printf '%s\n' --physical-network "$PHYSICAL_NETWORK"; fi
}

# daemon_is_current PID: it runs the installed binary with the wanted arguments and NATS server.
daemon_is_current() {
    local binary
    binary="$(bin_dir)/edgestackd"
    # The file itself, not its name: a replaced binary keeps its name.
    [ "$(stat --dereference --format=%d:%i "/proc/$1/exe" 2>/dev/null)" = "$(stat --dereference --format=%d:%i "$binary")" ] &&
        [ "$(process_arguments "$1" | tail -n +2)" = "$(daemon_arguments)" ] &&
        [ "$(process_environment "$1" EDGESTACK_NATS_SERVER)" = "$EDGESTACK_NATS_SERVER" ] &&
        [ "$(process_environment "$1" EDGESTACK_NETWORKS)" = "$EDGESTACK_NETWORKS" ]
}

# start_service: leaves a current daemon alone, replaces another one, and waits until it answers.
# VMs are not the daemon's children, so a restart does not touch them.
start_service() {
    local process pid start_time verb=started
    EDGESTACK_NATS_SERVER=$(nats_server "$STATE_DIR/nats-venv") || die "no nats-server $NATS_SERVER_VERSION_MIN or newer is found"
    export EDGESTACK_NATS_SERVER EDGESTACK_NETWORKS
    install --directory --mode=0711 "$STATE_DIR"
    mkdir -p "$STATE_DIR/log"
    # One starter at a time, or two daemons might race for one state dir.
    exec 8>"$STATE_DIR/.start.lock"
    flock 8
    if process=$(daemon_process); then
        read -r pid start_time <<<"$process"
        if daemon_is_current "$pid"; then
            await_ready "$pid" "$start_time"
            note "already running on $LISTEN (pid $pid)$(logout_hint)"
            return 0
        fi
        verb=restarted
        if ! has_systemd; then
            end_process "$pid" "$start_time" 30
        fi
    elif port_answers; then
        die "something else listens on $LISTEN already; stop it, or choose another address: deploy/quickstart --listen 127.0.0.1:9081"
    fi
    # Its answer says that the new daemon is up, so an old file must not be taken for it.
    rm -f "$STATE_DIR/client.json"
    if has_systemd; then
        start_unit
    else
        start_process
    fi
    process=$(daemon_process) || {
        show_daemon_log
        die "edgestackd ended at once; its last lines are above"
    }
    read -r pid start_time <<<"$process"
    await_ready "$pid" "$start_time"
    note "$verb on $LISTEN (pid $pid)$(logout_hint)"
}

start_process() {
    local pid start_time arguments
    mapfile -t arguments < <(daemon_arguments)
    rm -f "$(pid_file)"
    # A session of its own: the daemon outlives the shell and its terminal.
    # The umask is the one of a systemd unit, whatever the caller's: QEMU's user must get to its folders.
    # The locks' descriptors are closed, or they would be held as long as the daemon lives.
    # shellcheck disable=SC2016 # Expanded by the inner shell.
    setsid --fork bash -c '
        umask 022
        read -r -a stat </proc/self/stat
        printf "%s %s\n" "$$" "${stat[21]}" >"$1.new"
        mv -f "$1.new" "$1"
        shift
        exec "$@"
    ' edgestackd "$(pid_file)" "$(bin_dir)/edgestackd" "${arguments[@]}" \
        </dev/null >>"$(daemon_log)" 2>&1 8>&-
    # The pid file appears just before the daemon takes the place of the shell.
    for _ in $(seq 100); do
        if { read -r pid start_time <"$(pid_file)"; } 2>/dev/null; then
            if ! process_is "$pid" "$start_time" ||
                [ "$(readlink "/proc/$pid/exe")" = "$(readlink --canonicalize "$(bin_dir)/edgestackd")" ]; then
                return 0
            fi
        fi
        sleep 0.05
    done
}

start_unit() {
    local unit wanted_by outside='/@OUTSIDE@/d'
    unit=$(unit_file)
    if [ -f "$unit" ] && ! unit_is_ours; then
        die "$unit belongs to another state dir ($(sed -n 's/.*--state-dir \([^ ]*\) .*/\1/p' "$unit")); stop that site first: deploy/down --state-dir DIR --purge"
    fi
    wanted_by=default.target
    if is_root; then wanted_by=multi-user.target; fi
    # Nothing of the outside world outlives a restart of the machine. The site neither waits for it nor needs it.
    if has_outside; then outside="s|@OUTSIDE@|/bin/bash $(outside_folder)/world up $STATE_DIR|"; fi
    mkdir -p "$(dirname "$unit")"
    sed -e "s|@BIN@|$(bin_dir)|" -e "s|@ARGUMENTS@|$(daemon_arguments | paste --serial --delimiters=' ')|" -e "s|@LISTEN@|$LISTEN|" \
        -e "$outside" \
        -e "s|@NATS_SERVER@|$EDGESTACK_NATS_SERVER|" -e "s|@NETWORKS@|$EDGESTACK_NETWORKS|" -e "s|@WANTED_BY@|$wanted_by|" \
        "$DEPLOY/systemd/edgestackd.service" >"$unit.new"
    mv -f "$unit.new" "$unit"
    systemctl_here daemon-reload
    systemctl_here enable "$SERVICE_UNIT"
    systemctl_here restart "$SERVICE_UNIT"
}

# logout_hint: lets a user's service go on after their logout and start at boot, or says what is to be done for that.
logout_hint() {
    local user
    if is_root || ! has_systemd; then return 0; fi
    user=$(id --user --name)
    # Without polkit only root may do it.
    if [ ! -e "/var/lib/systemd/linger/$user" ] && ! loginctl enable-linger "$user" &&
        ! { command -v sudo >/dev/null && sudo --non-interactive loginctl enable-linger "$user"; }; then
        printf '; ends when you log out, VMs too, until you do as root: loginctl enable-linger %s' "$user"
    fi
}

# reachable_address: where a client on this machine reaches LISTEN.
reachable_address() {
    local host=${LISTEN%:*}
    case $host in
    0.0.0.0) host=127.0.0.1 ;;
    '[::]') host='[::1]' ;;
    esac
    printf '%s:%s\n' "$host" "${LISTEN##*:}"
}

port_answers() {
    local address host
    address=$(reachable_address)
    host=${address%:*}
    host=${host#[}
    (exec 3<>"/dev/tcp/${host%]}/${address##*:}") 2>/dev/null
}

# await_ready PID START_TIME: until /readyz answers 200, at most 60 s.
await_ready() {
    local deadline=$((SECONDS + 60)) url answer
    url="http://$(reachable_address)/readyz"
    until [ -f "$STATE_DIR/client.json" ] && curl --fail --silent --noproxy '*' --max-time 2 --output /dev/null "$url"; do
        if ! process_is "$1" "$2"; then
            show_daemon_log
            die "edgestackd ended before it was ready; its last lines are above (all: $(daemon_log_hint))"
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            show_daemon_log
            answer=$(curl --silent --show-error --noproxy '*' --max-time 2 "$url" 2>&1 || true)
            die "edgestackd is not ready after 60 s; $url says: ${answer:-nothing}"
        fi
        sleep 0.1
    done
}

show_daemon_log() {
    if has_systemd; then
        if is_root; then
            journalctl --unit="$SERVICE_UNIT" --lines=20 --no-pager --output=cat || true
        else
            journalctl --user --user-unit="$SERVICE_UNIT" --lines=20 --no-pager --output=cat || true
        fi
    elif [ -f "$(daemon_log)" ]; then
        tail -n 20 "$(daemon_log)"
    fi
}

daemon_log_hint() {
    if has_systemd; then
        if is_root; then
            printf 'journalctl --unit=%s\n' "$SERVICE_UNIT"
        else
            printf 'journalctl --user-unit=%s\n' "$SERVICE_UNIT"
        fi
    else
        daemon_log
    fi
}

# install_client_config: edgectl's config for the user who called us, and for the one behind sudo.
install_client_config() {
    local home
    write_client_config "$(config_dir)"
    if is_root && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
        home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
        # As that user: root must not write through links in a folder that another one owns.
        # shellcheck disable=SC2016,SC2024 # Expanded by the inner shell; root reads, the user writes.
        sudo --user="$SUDO_USER" bash -c 'umask 077; mkdir -p "$1" && cat >"$1/config.json.new" && mv -f "$1/config.json.new" "$1/config.json"' \
            config "$home/.config/edgestack" <"$STATE_DIR/client.json"
    fi
    note "$(config_dir)/config.json"
}

write_client_config() {
    local file="$1/config.json"
    (
        umask 077
        mkdir -p "$1"
        if cmp --silent "$STATE_DIR/client.json" "$file"; then return 0; fi
        # Another site's way in is kept beside it; a site is known by its token.
        if [ -f "$file" ] && [ "$(json_field token <"$file")" != "$(json_field token <"$STATE_DIR/client.json")" ]; then
            cp "$file" "$file.previous"
        fi
        cp "$STATE_DIR/client.json" "$file.new"
        chmod 0600 "$file.new"
        mv -f "$file.new" "$file"
    )
}

# json_field NAME...: one value of the JSON document on standard input, by its path; empty if absent.
json_field() {
    /usr/bin/env python3 -c '
import json, sys
value = json.load(sys.stdin)
for name in sys.argv[1:]:
    value = value.get(name) if isinstance(value, dict) else None
print("" if value is None else value)' "$@"
}
