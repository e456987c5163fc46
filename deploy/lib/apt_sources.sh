# shellcheck shell=bash
# The machine's own apt sources: every address that we give apt is derived from them, so that a
# mirror, a proxy or a closed network works without a setting of ours.

# apt_entries SUITE: prints "URI<TAB>SIGNED-BY" of each enabled binary entry of the suite with the
# component main; SIGNED-BY is a path, or "-" where it is absent or an embedded key.
# Formats: sources.list(5), one-line style and deb822 style.
apt_entries() {
    local file uri signed_by
    {
        for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
            if [ -r "$file" ]; then one_line_entries "$1" "$file"; fi
        done
        for file in /etc/apt/sources.list.d/*.sources; do
            if [ -r "$file" ]; then deb822_entries "$1" "$file"; fi
        done
    } | while IFS=$'\t' read -r uri signed_by; do
        printf '%s\t%s\n' "$(resolved_uri "$uri")" "$signed_by"
    done
}

# resolved_uri URI: Debian's cloud images name their mirrors in a file (apt-transport-mirror(1));
# its first mirror is one that any root file system can use.
resolved_uri() {
    local list
    case $1 in
    mirror+file:*)
        list=${1#mirror+file:}
        list=/${list##+(/)}
        awk '!/^[[:space:]]*(#|$)/ { print $1; exit }' "$list"
        ;;
    *) printf '%s\n' "$1" ;;
    esac
}

one_line_entries() {
    awk -v suite="$1" '
        $1 != "deb" { next }
        {
            line = $0; options = ""; signed = "-"
            sub(/^[[:space:]]*deb[[:space:]]+/, "", line)
            if (match(line, /^\[[^]]*\][[:space:]]*/)) {
                options = substr(line, 2, RLENGTH - 2)
                line = substr(line, RLENGTH + 1)
                if (match(options, /signed-by=[^] ]+/)) signed = substr(options, RSTART + 10, RLENGTH - 10)
            }
            fields = split(line, field, /[[:space:]]+/)
            if (field[1] ~ /^cdrom:/ || field[2] != suite) next
            for (i = 3; i <= fields; i++) if (field[i] == "main") { print field[1] "\t" signed; next }
        }' "$2"
}

deb822_entries() {
    awk -v suite="$1" '
        function flush(    i, n, word, is_deb, is_suite, is_main) {
            n = split(value["types"], word); for (i = 1; i <= n; i++) if (word[i] == "deb") is_deb = 1
            n = split(value["suites"], word); for (i = 1; i <= n; i++) if (word[i] == suite) is_suite = 1
            n = split(value["components"], word); for (i = 1; i <= n; i++) if (word[i] == "main") is_main = 1
            split(value["uris"], word)
            if (is_deb && is_suite && is_main && value["enabled"] !~ /^(no|false|0)$/ && word[1] != "")
                print word[1] "\t" (value["signed-by"] ~ /^\// ? value["signed-by"] : "-")
            delete value; key = ""
        }
        /^[[:space:]]*#/ { next }
        /^[[:space:]]*$/ { flush(); next }
        /^[[:space:]]/ { if (key != "") { sub(/^[[:space:]]+/, ""); value[key] = value[key] " " $0 } next }
        {
            key = tolower(substr($0, 1, index($0, ":") - 1))
            rest = substr($0, index($0, ":") + 1); gsub(/^[[:space:]]+|[[:space:]]+$/, "", rest)
            value[key] = rest
        }
        END { flush() }' "$2"
}

# apt_line SUITE OPTIONS: the first entry of the suite as a one-line source, with OPTIONS
# "signed-by" or "plain"; fails where the machine has none.
apt_line() {
    local uri signed_by
    IFS=$'\t' read -r uri signed_by < <(apt_entries "$1") || return 1
    if [ "$2" = signed-by ] && [ "$signed_by" != - ]; then
        printf 'deb [signed-by=%s] %s %s main\n' "$signed_by" "$uri" "$1"
    else
        printf 'deb %s %s main\n' "$uri" "$1"
    fi
}

# debian_codename: bookworm on Debian 12.
debian_codename() {
    (
        . /etc/os-release
        printf '%s\n' "${VERSION_CODENAME:-unknown}"
    )
}

# ensure_backports_source CODENAME: configures the backports suite of the same mirror unless one is.
ensure_backports_source() {
    local uri signed_by
    if [ -n "$(apt_entries "$1-backports")" ]; then
        return 0
    fi
    IFS=$'\t' read -r uri signed_by < <(apt_entries "$1") || return 1
    {
        printf 'Types: deb\nURIs: %s\nSuites: %s-backports\nComponents: main\n' "$uri" "$1"
        if [ "$signed_by" != - ]; then printf 'Signed-By: %s\n' "$signed_by"; fi
    } | as_root tee /etc/apt/sources.list.d/edgestack-backports.sources
}
