# shellcheck shell=bash
# The test suites. Each is a function suite_NAME that writes its details to standard output and
# leaves "PASSED FAILED SKIPPED" in $COUNTS; what it skips it says as "skipped: <name>: <why>".
#
# Unit and end-to-end tests are built by the same cargo invocation, profile (dev) and feature set
# (always --workspace): on two cores a second build of the dependencies costs more than all tests.

# shellcheck disable=SC2034 # Read by deploy/test.
SUITES=(fmt scripts deny clippy unit doc sim e2e openapi systemd)

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

# The simulation's many seeds and planted bugs. A build of its own, optimized and with the seam that bugs are planted
# through; no product build has that one, and the daemon does not even compile with it (ADR 0027).
suite_sim() {
    local log status=0 failed
    log=$(mktemp)
    cargo test --profile sim --locked -p edgestack-sim -p edgestack-planted \
        --features edgestack-sim/planted-bugs --no-fail-fast -- --nocapture 2>&1 | tee "$log" || status=$?
    failed=$(summed "$log" '^test result: .* ([0-9]+) failed;.*')
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    counted "$(summed "$log" '^test result: [^.]*\. ([0-9]+) passed;.*')" "$failed" 0
    rm -f "$log"
    return "$status"
}

# Whether the docs have examples that are Rust: a fence that opens with no other language.
has_examples() {
    find core workers api edgectl tests -name '*.rs' -exec awk '
        FNR == 1 { inside = 0 }
        /^[ \t]*\/\/[\/!] ?```/ {
            if (!inside && $0 !~ /```(text|json|console|sh|toml|yaml)/) found = 1
            inside = !inside
        }
        END { if (found) print "yes" }' {} + | grep --quiet yes
}

suite_doc() {
    local log status=0 failed
    # To build all for no example takes longer than some suites.
    if ! has_examples; then
        counted 0 0 0
        return 0
    fi
    log=$(mktemp)
    cargo test --doc --workspace --locked --no-fail-fast 2>&1 | tee "$log" || status=$?
    failed=$(summed "$log" '^test result: .* ([0-9]+) failed;.*')
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    counted "$(summed "$log" '^test result: [^.]*\. ([0-9]+) passed;.*')" "$failed" 0
    rm -f "$log"
    return "$status"
}

# The served OpenAPI document against the real daemon and NATS: schemathesis makes requests from it, good and bad, and
# checks that each answer is as the document says. The seed is fixed, so that a run can be repeated. The event feed has no
# end, so it is left out; tests of its own read it. So is what-if: which steps can be tried is in no schema of its own.
# Networks may refuse what their schema takes: no schema says that an address is in a prefix (schemathesis.toml).
suite_openapi() {
    local state daemon url token status=0
    cargo build --locked -p edgestackd || return 1
    state=$(mktemp --directory /tmp/es-openapi-XXXXXX)
    "$(target_dir)/debug/edgestackd" --state-dir "$state" --listen 127.0.0.1:0 --driver simulated &
    daemon=$!
    # shellcheck disable=SC2064 # This daemon and this folder.
    trap "kill $daemon; wait $daemon; rm -rf '$state'" EXIT
    if ! await_file "$state/client.json" 60; then
        echo "edgestackd did not begin to listen within 60 s"
        return 1
    fi
    url=$(sed --quiet 's/.*"url": "\(.*\)".*/\1/p' "$state/client.json")
    token=$(cat "$state/secrets/api-token")
    (cd "$state" && "$(schemathesis_dir)/bin/schemathesis" --config-file "$DEPLOY/lib/schemathesis.toml" run "$url/openapi.json" --header "Authorization: Bearer $token" \
        --exclude-path /edgetron/events --exclude-path /edgetron/what-if --checks all --max-examples 40 --seed 1 --request-timeout 60 --no-color) || status=1
    counted "$((1 - status))" "$status" 0
    return "$status"
}

# What deploy/ does on a host whose init is systemd, in a machine of its own (machine_image.sh): quickstart, the unit, a
# scope for each VM, restarts of the daemon and of the machine, a user's own site, purge. systemd_check is what runs in it.
suite_systemd() {
    local folder binaries=${EDGESTACK_BIN_DIR:-} why machine status=0 passed failed
    if why=$(machine_cannot_be_made); then
        printf 'skipped: all of systemd: %s\n' "$why"
        counted 0 0 1
        return 0
    fi
    set -e
    if [ -z "$binaries" ]; then
        cargo build --workspace --locked
        binaries=$(target_dir)/debug
    fi
    folder=$(mktemp --directory /tmp/es-systemd-XXXXXX)
    # shellcheck disable=SC2064 # This folder.
    trap "rm -rf '$folder'" EXIT
    make_payload "$folder/payload.raw" "$binaries" "$EDGESTACK_NATS_SERVER"
    run_machine "$folder" &
    machine=$!
    # shellcheck disable=SC2064 # This machine and this folder.
    trap "kill $machine; wait $machine; rm -rf '$folder'" EXIT
    wait "$machine" || status=$?
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'" EXIT
    cat "$folder/report"
    passed=$(grep --count '^ok ' "$folder/report") || true
    failed=$(grep --count '^not ok ' "$folder/report") || true
    # What was not told to the end may have lost what failed.
    if [ "$status" -ne 0 ] || ! grep --quiet --line-regexp "end $((passed + failed))" "$folder/report"; then
        printf 'the machine did not report to the end (QEMU ended with %s); the end of its console:\n' "$status"
        tail --lines=40 "$folder/console"
        failed=$((failed + 1))
    fi
    counted "$passed" "$failed" 0
    [ "$failed" -eq 0 ]
}

# await_file FILE SECONDS
await_file() {
    local deadline=$((SECONDS + $2))
    until [ -s "$1" ]; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
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
