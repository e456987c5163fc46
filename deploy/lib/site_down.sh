# shellcheck shell=bash
# Stopping a site, and removing one. Callers set STATE_DIR.

stop_daemon() {
    local process pid start_time
    if ! process=$(daemon_process); then
        printf '  edgestackd is not running\n' >&2
        # A unit that failed is waiting for its restart.
        if has_systemd && unit_is_ours; then systemctl_here disable --now "$SERVICE_UNIT" 2>/dev/null; fi
        return 0
    fi
    read -r pid start_time <<<"$process"
    printf '  stopping edgestackd (pid %s)\n' "$pid" >&2
    if has_systemd && unit_is_ours; then
        # Disabled too: a stopped site stays stopped at the next boot, until quickstart.
        systemctl_here disable --now "$SERVICE_UNIT" 2>/dev/null
    else
        end_process "$pid" "$start_time" 30
    fi
    rm -f "$(pid_file)"
}

# stop_leftover_nats: a daemon that was killed leaves its child; one that ended well does not.
stop_leftover_nats() {
    local pid start_time
    # The file has no line end.
    { pid=$(<"$STATE_DIR/nats/nats-server.pid"); } 2>/dev/null || return 0
    if [[ ! $pid =~ ^[0-9]+$ ]] || ! start_time=$(process_start_time "$pid"); then return 0; fi
    # The number may be another process's by now: ours names this state dir in its arguments.
    if [[ $(process_arguments "$pid") == *nats-server*"$STATE_DIR/"* ]]; then
        printf '  stopping the nats-server that the daemon left (pid %s)\n' "$pid" >&2
        end_process "$pid" "$start_time" 15
    fi
}

# end_networks: the OVN that the daemon left running, with its devices.
end_networks() {
    if [ ! -d "$STATE_DIR/ovn" ]; then return 0; fi
    if [ -x "$(bin_dir)/edgestackd" ]; then
        printf '  ending the virtual network\n' >&2
        "$(bin_dir)/edgestackd" --state-dir "$STATE_DIR" --networks bundled --end-networks ||
            printf '  warning: the virtual network did not end (its processes name %s/ovn)\n' "$STATE_DIR" >&2
    fi
}

# vm_processes: "PID START_TIME NAME" of each running QEMU of this site: those that the daemon wrote
# down, and those that it was killed too early to write down.
vm_processes() {
    local record pid start_time
    {
        for record in "$STATE_DIR"/vms/*/instance.json; do
            [ -f "$record" ] || continue
            pid=$(json_field pid <"$record" 2>/dev/null) || continue
            start_time=$(json_field start_time_ticks <"$record" 2>/dev/null) || continue
            if process_is "$pid" "$start_time"; then printf '%s %s\n' "$pid" "$start_time"; fi
        done
        for pid in /proc/[0-9]*; do
            pid=${pid#/proc/}
            if [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == */qemu-system-* ]] &&
                [[ $(process_arguments "$pid" 2>/dev/null) == *"$STATE_DIR/vms/"* ]] &&
                start_time=$(process_start_time "$pid"); then
                printf '%s %s\n' "$pid" "$start_time"
            fi
        done
    } | sort --unique | while read -r pid start_time; do
        printf '%s %s %s\n' "$pid" "$start_time" "$(process_arguments "$pid" 2>/dev/null | sed -n 's/^guest=\([^,]*\).*/\1/p')"
    done
}

# looks_like_a_site DIR: so that a mistyped --state-dir removes nothing.
looks_like_a_site() {
    [ -f "$1/client.json" ] || [ -f "$1/edgestackd.pid" ] || [ -d "$1/nats" ] || [ -f "$1/log/quickstart.log" ]
}

# purge_targets: the files and folders of this site, one a line, that are there.
purge_targets() {
    local path
    for path in "$STATE_DIR" "$(bin_dir)/edgestackd" "$(bin_dir)/edgectl" "$(demo_key_file)"; do
        if [ -e "$path" ]; then printf '%s\n' "$path"; fi
    done
    if [ -f "$(unit_file)" ] && unit_is_ours; then unit_file; fi
    # Only the config that points at this site.
    if cmp --silent "$STATE_DIR/client.json" "$(config_dir)/config.json"; then
        printf '%s/config.json\n' "$(config_dir)"
    fi
    if [ "$1" = yes ] && [ -d "$(cache_dir)" ]; then cache_dir; fi
}

has_vm_user() {
    is_root && getent passwd edgestack-vm >/dev/null
}

purge() {
    local targets=$1 path pid start_time name unit_removed=no
    vm_processes | while read -r pid start_time name; do
        printf '  ending VM %s (pid %s)\n' "$name" "$pid" >&2
        end_process "$pid" "$start_time" 10
    done
    end_networks
    while read -r path; do
        [ -n "$path" ] || continue
        if [ "$path" = "$(unit_file)" ]; then unit_removed=yes; fi
        printf '  removing %s\n' "$path" >&2
        rm -rf --one-file-system -- "$path"
    done <<<"$targets"
    if [ "$unit_removed" = yes ]; then systemctl_here daemon-reload; fi
    rmdir "$(config_dir)" 2>/dev/null || true
    if has_vm_user; then
        userdel edgestack-vm || printf '  warning: the user edgestack-vm stays, as something of it still runs (ps -u edgestack-vm)\n' >&2
    fi
}
