#!/usr/bin/env bash
# Whether files that should not change have changed: AIDE, its reference database and a daily check.
# Rules: integrity-* of rules/integrity.yaml. Parameters: integrity_check_time.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

conf=/etc/aide.conf
local_conf=/etc/aide.local.conf
program=/usr/libexec/isms-aide
units=/etc/systemd/system

head_file() { # the head that this AIDE understands: 0.17 renamed the database line and the levels
	local said version
	said=$(aide --version 2>&1 || :)
	[[ $said =~ [Aa][Ii][Dd][Ee]\ ([0-9]+)\.([0-9]+) ]] || die "aide --version does not tell its version"
	version=$((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2]))
	if ((version >= 17)); then echo head-0.17.conf; else echo head-0.16.conf; fi
}

keep_theirs() { # an administrator's configuration that ours replaces stays beside it, once
	local changed_files
	[[ -f $conf && ! -e $conf.before-isms ]] || return 0
	grep -q 'Written by the ISMS hardening' -- "$conf" && return 0
	changed_files=$(rpm -V aide 2>/dev/null || :)
	if grep -q "^..5.* $conf\$" <<<"$changed_files"; then
		cp -p -- "$conf" "$conf.before-isms"
		note "the configuration that was here is kept as $conf.before-isms"
	fi
}

apply_config() {
	local new head
	head=$(head_file)
	if [[ ! -e $local_conf ]]; then
		printf '# Rules of your own for AIDE. The hardening creates this file and never changes it.\n' >"$local_conf"
		chmod 0600 -- "$local_conf"
		changed integrity-paths "$local_conf"
	fi
	keep_theirs
	new=$(beside "$conf")
	cat -- "$isms_files/integrity/$head" "$isms_files/integrity/rules.conf" >"$new"
	aide --config="$new" --config-check >/dev/null 2>&1 || {
		rm -f -- "$new"
		die "AIDE refuses its configuration: is $local_conf correct? (aide --config-check)"
	}
	chmod 0600 -- "$new"
	swap integrity-paths "$new" "$conf"
	own integrity-config-permissions "$conf" 0600 root root
	own integrity-config-permissions "$local_conf" 0600 root root
}

timer() {
	printf '[Unit]\nDescription=Daily comparison of files with the reference database\n\n'
	printf '[Timer]\nOnCalendar=*-*-* %s:00\nRandomizedDelaySec=30min\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n' "$integrity_check_time"
}

apply_units() {
	local new before=$isms_changes
	place integrity-daily-check "$isms_files/integrity/isms-aide.sh" "$program" 0755
	place integrity-database-planned "$isms_files/integrity/isms-aide-init.service" "$units/isms-aide-init.service" 0644
	place integrity-daily-check "$isms_files/integrity/isms-aide-check.service" "$units/isms-aide-check.service" 0644
	new=$(beside "$units/isms-aide-check.timer")
	timer >"$new"
	chmod 0644 -- "$new"
	swap integrity-daily-check "$new" "$units/isms-aide-check.timer"
	if is_booted && ((isms_changes > before)); then systemctl daemon-reload; fi
	# Not started: the database belongs to the instance, and this may be the build of an image.
	enable_unit integrity-database-planned isms-aide-init.service
	enable_unit integrity-daily-check isms-aide-check.timer
	start_unit integrity-daily-check isms-aide-check.timer
}

apply() {
	local file
	need_package integrity-aide-installed aide
	mkdir -p /var/lib/aide /var/log/aide
	own integrity-database-permissions /var/lib/aide 0700 root root
	own integrity-log-permissions /var/log/aide 0700 root root
	for file in /var/log/aide/*; do tighten integrity-log-permissions "$file" 0600 root root; done
	apply_config
	apply_units
}

check() {
	holds integrity-aide-installed installed has_package aide
	holds integrity-config-valid "a configuration that AIDE accepts" config_valid
	holds integrity-paths "our rules" same_config
	verdict integrity-config-permissions "600 root" "$(stat -c '%a %U' -- "$conf" 2>/dev/null || :)"
	verdict integrity-database-permissions "700 root" "$(stat -c '%a %U' /var/lib/aide 2>/dev/null || :)"
	verdict integrity-log-permissions "700 root" "$(stat -c '%a %U' /var/log/aide 2>/dev/null || :)"
	verdict integrity-database-planned enabled "$(systemctl is-enabled isms-aide-init.service 2>/dev/null || :)"
	verdict integrity-daily-check enabled "$(systemctl is-enabled isms-aide-check.timer 2>/dev/null || :)"
}

config_valid() {
	aide --config-check >/dev/null 2>&1
}

same_config() {
	local head
	head=$(head_file)
	cmp -s -- <(cat -- "$isms_files/integrity/$head" "$isms_files/integrity/rules.conf") "$conf"
}

isms_main "$@"
