#!/usr/bin/env bash
# AIDE as this system uses it: isms-aide init | check | accept
#   init    build the reference database, unless there is one
#   check   compare with it; differences go to syslog (authpriv) and to /var/log/aide/aide.log and are no error of the check
#   accept  take the present state as the new reference
set -euo pipefail
umask 077
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin

reference=/var/lib/aide/aide.db.gz
new=/var/lib/aide/aide.db.new.gz
log=/var/log/aide/aide.log

say() { # PRIORITY TEXT
	logger -t isms-aide -p "authpriv.$1" -- "$2"
	printf '%s\n' "$2"
}

run() { # ARGUMENT: run aide and leave its exit code in code, its words in report
	code=0
	report=$(nice -n 19 aide "$1" 2>&1) || code=$?
}

case ${1:-} in
init)
	[[ ! -e $reference ]] || exit 0
	rm -f -- "$new"
	run --init
	if ((code != 0)) || [[ ! -s $new ]]; then
		say err "the reference database cannot be built (aide --init: $code)"
		printf '%s\n' "$report" >&2
		exit 1
	fi
	mv -f -- "$new" "$reference"
	say notice "reference database built"
	;;
check)
	if [[ ! -e $reference ]]; then
		say warning "there is no reference database yet"
		exit 0
	fi
	run --check
	{
		printf '== %s aide --check: %d\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$code"
		printf '%s\n' "$report"
	} >>"$log"
	# The exit code is a sum: 1 new, 2 removed, 4 changed. Everything from 14 on is an error of AIDE itself.
	if ((code == 0)); then
		say info "no difference to the reference database"
	elif ((code < 8)); then
		found=()
		if ((code & 1)); then found+=(new); fi
		if ((code & 2)); then found+=(removed); fi
		if ((code & 4)); then found+=(changed); fi
		say alert "files differ from the reference database (${found[*]}): see $log"
	else
		say err "the check failed (aide --check: $code): see $log"
		exit 1
	fi
	;;
accept)
	run --update
	if ((code >= 8)) || [[ ! -s $new ]]; then
		say err "the reference database cannot be renewed (aide --update: $code)"
		exit 1
	fi
	mv -f -- "$new" "$reference"
	say notice "the present state is the new reference (aide --update: $code)"
	;;
*)
	printf 'usage: %s init|check|accept\n' "$0" >&2
	exit 2
	;;
esac
