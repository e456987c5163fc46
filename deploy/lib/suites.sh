# shellcheck shell=bash
# The test suites. Each is a function suite_NAME that writes its details to standard output and
# leaves "PASSED FAILED SKIPPED" in $COUNTS; what it skips it says as "skipped: <name>: <why>".
#
# Unit and end-to-end tests are built by the same cargo invocation, profile (dev) and feature set
# (always --workspace): on two cores a second build of the dependencies costs more than all tests.

# shellcheck disable=SC2034 # Read by deploy/test.
SUITES=(fmt scripts deny clippy unit doc e2e)

counted() {
    printf '%s %s %s\n' "$1" "$2" "$3" >"$COUNTS"
}

# one_check COMMAND...: a suite that is one test.
one_check() {
    if "$@"; then
        counted 1 0 0
    else
        counted 0 1 0
        return 1
    fi
}

suite_fmt() {
    one_check cargo fmt --all --check
}

suite_clippy() {
    one_check cargo clippy --workspace --all-targets --locked -- -D warnings
}

suite_scripts() {
    local script passed=0 failed=0
    while read -r script; do
        if shellcheck --external-sources --source-path="$DEPLOY" "$script"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
        fi
    done < <(grep --recursive --files-with-matches --extended-regexp --max-count=1 '^#!.*bash|^# shellcheck shell=bash' "$DEPLOY" "$REPOSITORY/.ci")
    counted "$passed" "$failed" 0
    [ "$failed" -eq 0 ]
}

# Advisories need RustSec's database, which is a git repository of its own; a machine that reaches
# only package registries can't have it, and that alone is no failure of ours.
suite_deny() {
    local check passed=0 failed=0 skipped=0 said
    for check in bans licenses sources; do
        if cargo deny --locked check "$check"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
        fi
    done
    if said=$(GIT_TERMINAL_PROMPT=0 timeout 120 cargo deny --locked check advisories 2>&1); then
        passed=$((passed + 1))
    elif grep --quiet --extended-regexp 'advisory database|advisory-db' <<<"$said" && ! grep --quiet 'RUSTSEC-' <<<"$said"; then
        printf 'skipped: cargo deny check advisories: the advisory database cannot be fetched from this machine\n'
        skipped=1
    else
        failed=$((failed + 1))
    fi
    printf '%s\n' "$said"
    counted "$passed" "$failed" "$skipped"
    [ "$failed" -eq 0 ]
}

# nextest rather than cargo test: it runs the tests of all crates side by side, gives each a process
# of its own (a crash or a leaked port hurts one test), and has time limits. It runs no doc tests.
nextest() {
    local log status=0 passed failed self_skipped
    log=$(mktemp)
    cargo nextest run --workspace --locked --no-fail-fast --no-tests=pass --color=never \
        --success-output=immediate --failure-output=immediate --status-level=pass \
        "$@" 2>&1 | tee "$log" || status=$?
    passed=$(summed "$log" '^ *Summary .* ([0-9]+) passed.*')
    failed=$(summed "$log" '^ *Summary .* ([0-9]+) failed.*')
    failed=$((failed + $(summed "$log" '^ *Summary .* ([0-9]+) timed out.*') + $(summed "$log" '^ *Summary .* ([0-9]+) exec failed.*')))
    # A test that this machine can't run says so and returns; to nextest it passed.
    self_skipped=$(skipped_lines <"$log" | wc -l)
    rm -f "$log"
    # A build that failed ran no test and must not look like one that had none.
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    counted "$((passed > self_skipped ? passed - self_skipped : 0))" "$failed" "$self_skipped"
    return "$status"
}

suite_unit() {
    nextest -E 'not package(edgestack-e2e)'
}

suite_e2e() {
    # The daemon and edgectl that the tests start; the unit suite has built all that they need.
    cargo build --workspace --locked || { counted 0 1 0; return 1; }
    EDGESTACK_BIN_DIR="$(target_dir)/debug" nextest -E 'package(edgestack-e2e)'
}

suite_doc() {
    local log status=0 failed
    log=$(mktemp)
    cargo test --doc --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?
    failed=$(summed "$log" '^test result: .* ([0-9]+) failed;.*')
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    counted "$(summed "$log" '^test result: [^.]*\. ([0-9]+) passed;.*')" "$failed" 0
    rm -f "$log"
    return "$status"
}

# summed FILE REGEX: the sum of the regex's group over the matching lines.
summed() {
    sed --quiet --regexp-extended "s/$2/\\1/p" "$1" | awk '{ sum += $1 } END { print sum + 0 }'
}

# skipped_lines: "name: why" of each skip line on standard input, once each (a failing test's output
# is shown twice, and nextest indents).
skipped_lines() {
    sed --quiet --regexp-extended 's/^[[:space:]]*skipped: (.+: .+)$/\1/p' | sort --unique
}
