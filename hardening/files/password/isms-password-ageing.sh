#!/usr/bin/env bash
# Gives every account the ageing that fits it. A password ages as /etc/login.defs says. An account without one does not:
# PAM asks key log-ins and sudo about ageing too, and whoever has no password cannot change it. useradd, cloud-init and the
# SSM agent make accounts with the values of login.defs, so this runs every day. With --check it only names what it would do.
set -euo pipefail
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin

check=${1:-}
found=0

limit() { # KEY
	awk -v key="$1" '$1 == key { value = $2 } END { print value + 0 }' /etc/login.defs
}

longest=$(limit PASS_MAX_DAYS)
shortest=$(limit PASS_MIN_DAYS)
warning=$(limit PASS_WARN_AGE)

set_ageing() { # RULE NAME OPTIONS…
	found=1
	printf '%s %s: chage %s\n' "$1" "$2" "${*:3}"
	[[ $check == --check ]] || chage "${@:3}" -- "$2"
}

while IFS=: read -r name hash _ min max warn inactive _; do
	[[ -n $name && $name != +* ]] || continue
	if [[ -z $hash ]]; then
		continue
	elif [[ $hash == '!'* || $hash == '*'* ]]; then
		# Empty means never; so do the numbers that chage writes for it.
		if [[ -n $max && $max -ge 0 && $max -lt 99999 ]] || [[ -n $inactive && $inactive -ge 0 ]] || [[ -n $min && $min -gt 0 ]]; then
			set_ageing password-key-only-accounts "$name" -M 99999 -m 0 -I -1
		fi
	elif [[ -z $max || $max -lt 1 || $max -gt $longest || -z $min || $min -lt $shortest || -z $warn || $warn -lt $warning ]]; then
		set_ageing password-ageing "$name" -M "$longest" -m "$shortest" -W "$warning"
	fi
done < <(cat /etc/shadow)

[[ $check != --check ]] || exit "$found"
