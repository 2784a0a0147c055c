#!/usr/bin/env bash
# What is said to people before and after they log in. Rules: every banner-… rule.
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# Flag of update-motd: with it the tool writes no more.
flag=/var/lib/update-motd/disabled
vendor=/usr/lib/motd.d
own=/etc/motd.d

# NAME RULE SOURCE
texts() {
	printf '%s\n' \
		'issue banner-issue before-login' \
		'issue.net banner-issue-net before-login' \
		'motd banner-motd after-login'
}

writes_motd() { # whether update-motd is here
	[[ -x /usr/sbin/update-motd || -x /usr/bin/update-motd || -d /var/lib/update-motd ]]
}

speaking_parts() { # print the vendor's parts of the message of the day that nothing hides
	local file
	for file in "$vendor"/*; do
		[[ -f $file && $(readlink -- "$own/${file##*/}" || :) != /dev/null ]] && printf '%s\n' "$file"
	done
	return 0
}

apply() {
	local name rule source file
	while read -r name rule source; do
		# A link goes: what it leads to belongs to a tool that writes it anew.
		place "$rule" "$isms_files/banner/$source" "/etc/$name" 0644
	done < <(texts)
	if writes_motd && [[ ! -e $flag ]]; then
		mkdir -p -- "$(dirname -- "$flag")"
		: >"$flag"
		changed banner-update-motd "$flag"
	fi
	while read -r file; do
		mkdir -p -- "$own"
		ln -sfn -- /dev/null "$own/${file##*/}"
		changed banner-motd-parts "$file hidden"
	done < <(speaking_parts)
}

check() {
	local name rule source
	while read -r name rule source; do
		if cmp -s -- "$isms_files/banner/$source" "/etc/$name"; then pass "$rule"; else fail "$rule" "our text" "another one in /etc/$name"; fi
		# shellcheck disable=SC1003  # a backslash, nothing else
		verdict banner-version '' "$(grep -oE '\\[a-zA-Z]' -- "/etc/$name" 2>/dev/null || :)"
		verdict "${rule}-mode" '644 root root' "$(stat -L -c '%a %U %G' -- "/etc/$name" 2>/dev/null || :)"
	done < <(texts)
	if writes_motd; then verdict banner-update-motd 'disabled file' "$([[ ! -e $flag ]] || printf disabled) $([[ -L /etc/motd ]] && printf link || printf file)"; fi
	verdict banner-motd-parts '' "$(speaking_parts)"
}

isms_main "$@"
