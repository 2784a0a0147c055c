#!/usr/bin/env bash
# Who may become root by sudo, with what proof, and what is written down. Rules: every sudo-… rule.
#
# Our settings stand in a file of their own that sudo reads last; what others wrote against them is taken out of their files.
# Rules that grant something stay as they are, except that NOPASSWD is left to approved users. visudo sees every text first.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

main=/etc/sudoers
folder=/etc/sudoers.d
# sudo skips names with a dot.
dropin=$folder/zz-isms
path_value=/usr/sbin:/usr/bin:/sbin:/bin

# Reads one file. report=1: prints `RULE TEXT` for everything that must go. report=0: prints the file without it.
# report=2: prints `safe` when the file sets a secure_path that can stay.
filter() { # REPORT FILE
	ISMS_APPROVED=" ${sudo_nopasswd_users//,/ } " awk -v report="$1" -v most="$sudo_timestamp_timeout" '
		function trim(text) { gsub(/^[ \t]+|[ \t]+$/, "", text); return text }
		function tell(rule, text) { if (report == 1) print rule, text; edited = 1 }
		# Whether one item of a Defaults line must go.
		function unwanted(item, scoped,    name, value, negated) {
			negated = item ~ /^!/
			name = item; sub(/^!+[ \t]*/, "", name); value = name
			sub(/[ \t]*[-+]?=.*$/, "", name); sub(/^[^=]*=[ \t]*/, "", value); gsub(/"/, "", value)
			if (name == "authenticate" && negated) { tell("sudo-authenticate", item); return 1 }
			if (name == "use_pty" && negated) { tell("sudo-use-pty", item); return 1 }
			if (name == "logfile" && (negated || !scoped)) { tell("sudo-logfile", item); return 1 }
			if (name == "timestamp_timeout" && (!scoped || value + 0 < 0 || value + 0 > most)) { tell("sudo-timestamp-timeout", item); return 1 }
			if (name == "secure_path") {
				if (!negated && value ~ /^\/[^:]*(:\/[^:]*)*$/) { if (!scoped && report == 2) print "safe"; return 0 }
				tell("sudo-secure-path", item); return 1
			}
			return 0
		}
		function defaults(line,    head, rest, i, c, quoted, item, kept) {
			match(line, /^[ \t]*Defaults[^ \t]*[ \t]*/)
			head = substr(line, 1, RLENGTH); rest = substr(line, RLENGTH + 1) ","
			for (i = 1; i <= length(rest); i++) {
				c = substr(rest, i, 1)
				if (c == "\"" && substr(rest, i - 1, 1) != "\\") quoted = !quoted
				if (c == "," && !quoted && substr(rest, i - 1, 1) != "\\") {
					item = trim(item)
					if (item != "" && !unwanted(item, head ~ /Defaults[^ \t]/)) kept = kept (kept == "" ? "" : ", ") item
					item = ""
				} else item = item c
			}
			return kept == "" ? "" : head kept
		}
		function grant(line,    words, n, i, users, all, who) {
			if (line !~ /NOPASSWD[ \t]*:/) return line
			n = split(trim(line), words, /[ \t]+/); users = words[1]
			for (i = 2; i <= n && users ~ /,$/; i++) users = users words[i]
			all = 1; n = split(users, who, ",")
			for (i = 1; i <= n; i++) if (index(ENVIRON["ISMS_APPROVED"], " " who[i] " ") == 0) all = 0
			if (all) return line
			tell("sudo-nopasswd", users)
			gsub(/NOPASSWD[ \t]*:[ \t]*/, "", line)
			return line
		}
		{
			sub(/\r$/, "", $0)
			raw = raw (raw == "" ? "" : "\n") $0
			logical = logical $0
			if ($0 ~ /\\$/) { sub(/\\$/, " ", logical); next }
			line = logical; edited = 0
			if (line ~ /^[ \t]*Defaults/) line = defaults(line)
			else if (line !~ /^[ \t]*(#[^0-9]|#$|@|$)/) line = grant(line)
			if (report == 0 && !(edited && line == "")) print edited ? line : raw
			raw = logical = ""
		}
	' "$2"
}

read_files() { # print the names of the files that sudo reads besides ours
	local file
	[[ ! -e $main ]] || printf '%s\n' "$main"
	for file in "$folder"/*; do
		[[ -f $file && $file != "$dropin" && $(basename -- "$file") != *[.~]* ]] && printf '%s\n' "$file"
	done
	return 0
}

included() {
	grep -qE "^[[:space:]]*[#@]includedir[[:space:]]+${folder}[[:space:]]*$" -- "$main"
}

text() { # what our file says
	local file safe=
	while read -r file; do
		safe=$safe$(filter 2 "$file")
	done < <(read_files)
	cat <<-END
		# Written by the hardening; change the parameters, not this text.
		Defaults use_pty
		Defaults logfile=/var/log/sudo.log
		Defaults timestamp_timeout=$sudo_timestamp_timeout
	END
	if [[ -z $safe ]]; then printf 'Defaults secure_path=%s\n' "$path_value"; fi
}

put() { # RULE NEW PATH: put a text in place that visudo took
	local said
	chmod 0440 -- "$2"
	said=$(visudo -cf "$2" 2>&1) || {
		rm -f -- "$2"
		die "visudo refuses what $3 would become: $(tr '\n' ' ' <<<"$said")"
	}
	swap "$1" "$2" "$3"
}

apply() {
	local file new found
	command -v visudo >/dev/null 2>&1 || die "there is no sudo: install the package"
	[[ -d $folder ]] || install -d -m 0750 -- "$folder"
	if [[ ! -e $main ]]; then
		new=$(beside "$main")
		printf '%s\n' 'Defaults env_reset' 'root ALL=(ALL) ALL' '%wheel ALL=(ALL) ALL' "#includedir $folder" >"$new"
		put sudo-include "$new" "$main"
	fi
	while read -r file; do
		found=$(filter 1 "$file")
		[[ -n $found ]] || grep -q $'\r' -- "$file" || continue
		new=$(beside "$(real "$file")")
		filter 0 "$file" >"$new"
		put "$(sed -n '1s/ .*//p' <<<"${found:-sudo-syntax}")" "$new" "$(real "$file")"
		if [[ -n $found ]]; then note "$file no longer says: $(tr '\n' ';' <<<"$found")"; fi
	done < <(read_files)
	if ! included; then
		new=$(beside "$(real "$main")")
		{
			cat -- "$main"
			printf '#includedir %s\n' "$folder"
		} >"$new"
		put sudo-include "$new" "$(real "$main")"
	fi
	new=$(beside "$dropin")
	text >"$new"
	put sudo-use-pty "$new" "$dropin"
	own sudo-sudoers-mode "$main" 0440 root root
	own sudo-folder-mode "$folder" 0750 root root
	for file in "$folder"/*; do
		[[ -f $file ]] || continue
		own sudo-dropin-modes "$file" 0440 root root
	done
	visudo -c >/dev/null 2>&1 || die "visudo refuses what is there: $(visudo -c 2>&1 | tr '\n' ' ')"
}

check() {
	local file found='' rule present=no
	command -v visudo >/dev/null 2>&1 || die "there is no sudo: install the package"
	while read -r file; do
		found=$found$(filter 1 "$file")$'\n'
	done < <(read_files)
	verdict sudo-authenticate '' "$(sed -n 's/^sudo-authenticate //p' <<<"$found")"
	verdict sudo-nopasswd '' "$(sed -n 's/^sudo-nopasswd //p' <<<"$found")"
	if [[ -e $dropin && $(text) == "$(cat -- "$dropin")" ]]; then present=yes; fi
	for rule in sudo-use-pty sudo-logfile sudo-timestamp-timeout sudo-secure-path; do
		verdict "$rule" yes "$present$(sed -n "s/^$rule / /p" <<<"$found")"
	done
	verdict sudo-include yes "$(if included; then printf yes; fi)"
	verdict sudo-syntax 0 "$(
		visudo -cf "$main" >/dev/null 2>&1
		printf '%s' $?
	)"
	verdict sudo-sudoers-mode '440 root root' "$(stat -L -c '%a %U %G' -- "$main")"
	verdict sudo-folder-mode '750 root root' "$(stat -L -c '%a %U %G' -- "$folder")"
	for file in "$folder"/*; do
		[[ -f $file ]] || continue
		verdict sudo-dropin-modes "$file 440 root root" "$file $(stat -L -c '%a %U %G' -- "$file")"
	done
}

isms_main "$@"
