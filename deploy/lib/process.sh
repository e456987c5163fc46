# shellcheck shell=bash
# Processes known by pid and start time, so that a pid that the kernel gave to another one is
# never believed.

# process_start_time PID: field 22 of /proc/PID/stat (proc(5)), clock ticks since boot; fails where
# there is no such process or only its zombie. The name in field 2 may hold blanks and brackets, so
# fields are counted from its closing one.
process_start_time() {
    local stat
    { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
    stat=${stat##*) }
    read -r -a stat <<<"$stat"
    # shellcheck disable=SC2128 # The first field is meant: the state.
    [ "$stat" != Z ] || return 1
    printf '%s\n' "${stat[19]}"
}

# process_is PID START_TIME
process_is() {
    [[ $1 =~ ^[0-9]+$ ]] && [ "$(process_start_time "$1")" = "$2" ]
}

# process_arguments PID: one argument a line.
process_arguments() {
    tr '\0' '\n' <"/proc/$1/cmdline"
}

# process_environment PID NAME: the value it was started with.
process_environment() {
    tr '\0' '\n' <"/proc/$1/environ" | sed -n "s/^$2=//p"
}

# end_process PID START_TIME SECONDS: SIGTERM, then SIGKILL after the time; true once it is gone.
end_process() {
    local pid=$1 start_time=$2 deadline
    deadline=$((SECONDS + $3))
    kill -TERM "$pid" 2>/dev/null || true
    while process_is "$pid" "$start_time"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            printf '  pid %s did not end within %s s of SIGTERM: SIGKILL\n' "$pid" "$3" >&2
            kill -KILL "$pid" 2>/dev/null || true
            deadline=$((SECONDS + 10))
            while process_is "$pid" "$start_time"; do
                [ "$SECONDS" -lt "$deadline" ] || die "pid $pid does not end even by SIGKILL (state $(sed -n 's/^State:\t//p' "/proc/$pid/status")); see what it waits for: cat /proc/$pid/stack"
                sleep 0.1
            done
            return 0
        fi
        sleep 0.1
    done
}
