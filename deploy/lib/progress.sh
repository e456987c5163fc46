# shellcheck shell=bash
# Progress for people: one line a step with its time on stderr, the details in a log file.

PROGRESS_LOG=${PROGRESS_LOG:-/dev/null}

# die MESSAGE: one line that names the problem and the fix, then exit 1.
die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# note WORDS: what the running step found, shown on its closing line.
note() {
    if [ -n "${STEP_NOTE:-}" ]; then
        printf '%s' "$*" >"$STEP_NOTE"
    fi
}

now_ms() {
    local now=$EPOCHREALTIME
    now=${now/[.,]/}
    printf '%s' "${now%???}"
}

# seconds_since MILLISECONDS: elapsed seconds with one decimal.
seconds_since() {
    local elapsed_ms=$(($(now_ms) - $1))
    printf '%d.%d' $((elapsed_ms / 1000)) $((elapsed_ms % 1000 / 100))
}

# step NAME COMMAND...: runs the command in a subshell with its output in the log. What it learns
# must therefore be on disk or be found again; a failure shows the log's end and ends the script.
# Never call it from a condition: bash would ignore the command's failures.
step() {
    local name=$1 began status said log_size
    shift
    began=$(now_ms)
    STEP_NOTE=$(mktemp)
    export STEP_NOTE
    if [ -t 2 ]; then
        printf '  %-10s ...' "$name" >&2
    fi
    printf '\n== %s: %s\n' "$name" "$*" >>"$PROGRESS_LOG"
    log_size=$(stat --format=%s "$PROGRESS_LOG")
    set +e
    (
        set -e
        "$@"
    ) >>"$PROGRESS_LOG" 2>&1 </dev/null
    status=$?
    set -e
    said=$(cat "$STEP_NOTE")
    rm -f "$STEP_NOTE"
    unset STEP_NOTE
    if [ -t 2 ]; then
        printf '\r\033[K' >&2
    fi
    if [ "$status" -ne 0 ]; then
        printf '  %-10s FAILED after %s s; the end of %s:\n' "$name" "$(seconds_since "$began")" "$PROGRESS_LOG" >&2
        tail -c "+$((log_size + 1))" "$PROGRESS_LOG" | tail -n 25 | sed 's/^/    /' >&2
        exit 1
    fi
    printf '  %-10s %6s s  %s\n' "$name" "$(seconds_since "$began")" "$said" >&2
}
