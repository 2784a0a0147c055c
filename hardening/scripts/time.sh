#!/usr/bin/env bash
# Which clock the host follows, so that its log lines can be compared with everybody else's.
# Rules: time-* of rules/time.yaml. Parameters: time_servers, time_zone.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

conf=/etc/chrony.conf
keys=/etc/chrony.keys
rivals='ntpd.service ntpdate.service sntp.service openntpd.service ntpsec.service systemd-timesyncd.service'

# AL2023 takes its source from /run/chrony.d, which a package fills at boot; a line in the main file holds on both systems,
# and chronyd leaves the second mention of a server alone.
desired() { # print the main file as it should be
	local server missing=
	for server in ${time_servers//,/ }; do
		awk -v server="$server" '{ sub(/\r$/, "") } tolower($1) ~ /^(server|pool|peer)$/ && $2 == server { found = 1 } END { exit !found }' "$conf" ||
			missing+="server $server prefer iburst minpoll 4 maxpoll 4"$'\n'
	done
	ISMS_MISSING=$missing awk '
		{ sub(/\r$/, ""); word = tolower($1) }
		# Without an address, allow serves time to everybody; a client serves it to nobody.
		word == "allow" || word == "cmdallow" { print "# isms: " $0; next }
		word == "user" { if (!user++) print "user chrony"; next }
		word == "makestep" { if ($2 + 0 > 0 && $3 + 0 != 0) step = 1; else { print "# isms: " $0; next } }
		{ print }
		END {
			printf "%s", ENVIRON["ISMS_MISSING"]
			if (!step) print "makestep 1.0 3"
			if (!user) print "user chrony"
		}
	' "$conf"
}

restart=0

write_conf() {
	local new target
	[[ -f $conf ]] || die "$conf is missing: reinstall chrony"
	getent passwd chrony >/dev/null || die "there is no user chrony: reinstall chrony"
	target=$(real "$conf")
	new=$(beside "$target")
	desired >"$new"
	if cmp -s -- "$new" "$target"; then
		rm -f -- "$new"
		return 0
	fi
	# chronyd -p only reads and prints; where it accepts the old file it must accept the new one.
	if chronyd -p -f "$target" >/dev/null 2>&1 && ! chronyd -p -f "$new" >/dev/null 2>&1; then
		rm -f -- "$new"
		die "chronyd does not accept what would be written to $conf"
	fi
	swap time-source "$new" "$target"
	restart=1
}

silence_servers() { # the same for files that the main one includes
	local file new
	for file in /etc/chrony.d/*.conf; do
		[[ -f $file ]] || continue
		grep -qiE '^[[:space:]]*(cmd)?allow' "$file" || continue
		new=$(beside "$(real "$file")")
		sed -E 's/^[[:space:]]*(cmd)?allow/# isms: &/I' "$file" >"$new"
		swap time-not-served "$new" "$(real "$file")"
		restart=1
	done
}

restart_changed() {
	((restart)) || return 0
	if is_booted; then systemctl -q try-restart chronyd.service || die "chronyd does not start: systemctl status chronyd"; fi
}

unit_exists() { # UNIT: by its file, without a question to systemd
	local folder
	for folder in /etc /run /usr/local/lib /usr/lib /lib; do
		[[ -e $folder/systemd/system/$1 || -L $folder/systemd/system/$1 ]] && return 0
	done
	return 1
}

active_rivals() { # print other time services that are not masked
	local unit
	for unit in $rivals; do
		if unit_exists "$unit" && [[ $(readlink -- "/etc/systemd/system/$unit" || :) != /dev/null ]]; then printf '%s ' "$unit"; fi
	done
}

silence_rivals() {
	local unit
	for unit in $(active_rivals); do
		if is_booted; then systemctl -q stop -- "$unit" || die "cannot stop $unit"; fi
		systemctl -q disable -- "$unit" 2>/dev/null || :
		if [[ -f /etc/systemd/system/$unit && ! -L /etc/systemd/system/$unit ]]; then
			mv -f -- "/etc/systemd/system/$unit" "/etc/systemd/system/$unit.isms-off"
		fi
		[[ ! -L /etc/systemd/system/$unit ]] || rm -f -- "/etc/systemd/system/$unit"
		systemctl -q mask -- "$unit"
		changed time-single-daemon "$unit off"
	done
}

zone() { # print the name of the time zone
	local link
	if [[ ! -e /etc/localtime && ! -L /etc/localtime ]]; then
		printf UTC # so the C library has it
		return 0
	fi
	link=$(readlink -- /etc/localtime || printf 'a file of its own')
	link=${link##*/zoneinfo/}
	case $link in Etc/UTC | Etc/UCT | UCT | Universal | Etc/Universal | Zulu | Etc/Zulu) link=UTC ;; esac
	printf '%s' "$link"
}

write_zone() {
	local new
	[[ -n $time_zone ]] || return 0
	[[ $(zone) != "${time_zone/#Etc\/UTC/UTC}" ]] || return 0
	[[ -f /usr/share/zoneinfo/$time_zone ]] || die "there is no time zone $time_zone"
	new=/etc/.isms.localtime.$$
	ln -s -- "../usr/share/zoneinfo/$time_zone" "$new"
	mv -fT -- "$new" /etc/localtime
	changed time-zone "$time_zone"
}

apply() {
	need_package time-chrony-installed chrony
	silence_rivals
	write_conf
	silence_servers
	restart_changed
	tighten time-key-file "$keys" 0640
	enable_unit time-chrony-enabled chronyd.service
	start_unit time-chrony-enabled chronyd.service
	write_zone
}

check() {
	local want
	if ! has_package chrony || [[ ! -f $conf ]]; then
		fail time-chrony-installed installed absent
		return 0
	fi
	pass time-chrony-installed
	verdict time-chrony-enabled enabled "$(systemctl is-enabled chronyd.service 2>/dev/null || :)"
	want=$(desired)
	if [[ $want == "$(<"$conf")" ]]; then
		pass time-source
	else
		fail time-source "the baseline's lines in $conf" "$(diff <(printf '%s\n' "$want") "$conf" | grep '^[<>]' | tr '\n' ' ' || :)"
	fi
	verdict time-single-daemon "" "$(active_rivals)"
	[[ ! -e $keys ]] || verdict time-key-file "" "$(find -L "$keys" -perm /0137)"
	[[ -z $time_zone ]] || verdict time-zone "${time_zone/#Etc\/UTC/UTC}" "$(zone)"
}

isms_main "$@"
