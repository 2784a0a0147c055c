#!/usr/bin/env bash
# What the system writes down, who may read it, and how long it is kept.
# Rules: logging-* of rules/logging.yaml. Parameters: logging_rsyslog, logging_file_mode, logging_retention_days,
# logging_journal_max_use.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

main_conf=/etc/rsyslog.conf
our_conf=/etc/rsyslog.d/00-isms.conf
journal_conf=/etc/systemd/journald.conf.d/zz-isms.conf
our_rotation=/etc/logrotate.d/isms

# Rule, what an active line must look like, and the line that is added where there is none. The file may be named in the
# old way (-/path, - for "do not sync") or in an action() of the new one.
selector_rules=(logging-authpriv-file logging-cron-file logging-messages-file logging-emergency-users)
selector_looks=(
	'^[[:space:]]*([a-z0-9,*.=!;]*[;,])?authpriv\.(\*|debug|info)[^[:space:]]*[[:space:]]+.*/var/log/secure'
	'^[[:space:]]*([a-z0-9,*.=!;]*[;,])?cron\.(\*|debug|info)[^[:space:]]*[[:space:]]+.*/var/log/cron'
	'^[[:space:]]*\*\.(\*|debug|info)[^[:space:]]*[[:space:]]+.*/var/log/messages'
	'^[[:space:]]*\*\.emerg[^[:space:]]*[[:space:]]+(:omusrmsg:)?\*'
)
selector_lines=(
	'authpriv.*                                              /var/log/secure'
	'cron.*                                                  /var/log/cron'
	'*.info;mail.none;authpriv.none;cron.none                /var/log/messages'
	'*.emerg                                                 :omusrmsg:*'
)

# The logs whose loss an assessor would notice; each must be kept for the whole period.
kept_logs=(/var/log/messages /var/log/secure /var/log/cron /var/log/wtmp /var/log/btmp /var/log/sudo.log)

wants_rsyslog() {
	[[ ${logging_rsyslog:-true} == true ]]
}

# --- rsyslog -------------------------------------------------------------------------------------------------------

rsyslog_text() { # everything that rsyslog reads, except our own file
	local file
	for file in "$main_conf" /etc/rsyslog.d/*.conf; do
		[[ -f $file && $file != "$our_conf" ]] || continue
		sed 's/\r$//' -- "$file"
		echo
	done
}

rsyslog_main() { # the main file: no CR, our folder read before the first rule, no wider file mode
	local new
	[[ -f $main_conf ]] || die "$main_conf is missing: reinstall rsyslog"
	new=$(beside "$main_conf")
	ISMS_MODE=$logging_file_mode awk '
		BEGIN {
			# Names and not any word: parameters of a module, such as SysSock.Use, stand on lines of their own as well.
			name = "(\\*|auth|authpriv|cron|daemon|kern|lpr|mail|mark|news|security|syslog|user|uucp|local[0-7])"
			selector = "^" name "(," name ")*\\.[=!]*(\\*|none|[a-z]+)[^ \t]*[ \t]+[^ \t]"
		}
		{ sub(/\r$/, ""); line[NR] = $0; bare = tolower($0); sub(/^[ \t]+/, "", bare) }
		bare ~ /^(\$includeconfig|include\().*\/etc\/rsyslog\.d\// && !include { include = NR }
		bare ~ selector && !first { first = NR }
		END {
			for (n = 1; n <= NR; n++) {
				if (n == first && !include) print "$IncludeConfig /etc/rsyslog.d/*.conf"
				if (n == first && include > first) print "$FileCreateMode " ENVIRON["ISMS_MODE"]
				print line[n]
			}
			if (!first && !include) print "$IncludeConfig /etc/rsyslog.d/*.conf"
		}
	' "$main_conf" >"$new"
	# A mode set twice above the rules is one too many: the second run would add it again.
	awk '!(tolower($1) == "$filecreatemode" && $0 == previous) { print } { previous = $0 }' "$new" >"$new.x"
	cat -- "$new.x" >"$new"
	rm -f -- "$new.x"
	if ! cmp -s -- "$new" "$main_conf" && ! rsyslogd -N1 -f "$new" >/dev/null 2>&1; then
		rm -f -- "$new"
		die "rsyslog refuses its configuration, $main_conf: rsyslogd -N1"
	fi
	swap logging-rsyslog-file-mode "$new" "$main_conf"
}

narrow_modes() { # FILE: every $FileCreateMode of the file keeps only the bits that ours has
	local file=$1 new word mode line
	# shellcheck disable=SC2016  # rsyslog's directive
	grep -qiE '^[[:space:]]*\$FileCreateMode' -- "$file" || return 0
	new=$(beside "$file")
	while IFS= read -r line || [[ -n $line ]]; do
		read -r word mode _ <<<"${line%$'\r'}" || :
		if [[ ${word,,} == "\$filecreatemode" && $mode =~ ^[0-7]{3,4}$ ]]; then
			printf -v line '%s 0%03o' "$word" $((8#$mode & 8#$logging_file_mode))
		fi
		printf '%s\n' "$line"
	done <"$file" >"$new"
	swap logging-rsyslog-file-mode "$new" "$file"
}

# Print a file of rsyslog with everything that receives from the network commented out: the modules, and their settings, which
# rsyslog does not know without them. Statements of the new form, module(…) and input(…), go on until their bracket closes.
without_network() { # FILE
	awk '
		{ sub(/\r$/, ""); bare = tolower($0); sub(/^[ \t]+/, "", bare) }
		!inside && bare ~ /^(module|input)[ \t]*\(/ { inside = 1; held = 0 }
		inside {
			block[++held] = $0; text = text bare
			if (bare ~ /\)[ \t]*(#.*)?$/) flush()
			next
		}
		bare ~ /^\$modload[ \t]+im(udp|tcp|ptcp|relp)([^a-z]|$)/ || bare ~ /^\$(udpserver|input(tcp|ptcp|relp|udp))/ { print "# isms: " $0; next }
		{ print }
		END { if (inside) flush() }
		function flush(    n, mark) {
			mark = text ~ /(load|type)[ \t]*=[ \t]*"im(udp|tcp|ptcp|relp)"/ ? "# isms: " : ""
			for (n = 1; n <= held; n++) print mark block[n]
			inside = 0; text = ""
		}
	' "$1"
}

close_network() { # FILE
	local new
	new=$(beside "$1")
	without_network "$1" >"$new"
	swap logging-no-remote-reception "$new" "$1"
}

rsyslog_own() { # our file, with the rules that nobody else has
	local new text index
	text=$(rsyslog_text)
	new=$(beside "$our_conf")
	{
		printf '# Written by the ISMS hardening. Read before the rules of rsyslog.conf.\n'
		# shellcheck disable=SC2016  # rsyslog's directives
		printf '$FileCreateMode %s\n$DirCreateMode 0750\n' "$logging_file_mode"
		for index in "${!selector_rules[@]}"; do
			grep -qiE -- "${selector_looks[index]}" <<<"$text" || printf '%s\n' "${selector_lines[index]}"
		done
	} >"$new"
	chmod 0640 -- "$new"
	swap logging-rsyslog-file-mode "$new" "$our_conf"
}

apply_rsyslog() {
	local before=$isms_changes file
	need_package logging-rsyslog-installed rsyslog
	mkdir -p /etc/rsyslog.d
	rsyslog_main
	for file in "$main_conf" /etc/rsyslog.d/*.conf; do
		[[ -f $file && $file != "$our_conf" ]] || continue
		narrow_modes "$file"
		close_network "$file"
	done
	rsyslog_own
	for file in "$main_conf" /etc/rsyslog.d/*.conf; do
		tighten logging-rsyslog-config-permissions "$file" 0640 root root
	done
	rsyslogd -N1 >/dev/null 2>&1 || die "rsyslog refuses its configuration, $main_conf: rsyslogd -N1"
	enable_unit logging-rsyslog-enabled rsyslog.service
	if is_booted && ((isms_changes > before)); then systemctl restart rsyslog.service || die "rsyslog does not start"; fi
	start_unit logging-rsyslog-active rsyslog.service
}

# --- the journal -----------------------------------------------------------------------------------------------------

journal_text() {
	printf '[Journal]\nStorage=persistent\nCompress=yes\nSystemMaxUse=%s\n' "$logging_journal_max_use"
	# rsyslog reads the journal by itself (imjournal); the line serves those that listen to the socket instead.
	if wants_rsyslog; then printf 'ForwardToSyslog=yes\n'; fi
}

apply_journal() {
	local new before=$isms_changes
	mkdir -p -- "$(dirname -- "$journal_conf")"
	new=$(beside "$journal_conf")
	journal_text >"$new"
	chmod 0644 -- "$new"
	swap logging-journal-persistent "$new" "$journal_conf"
	if [[ ! -d /var/log/journal ]]; then
		mkdir -p /var/log/journal
		changed logging-journal-directory /var/log/journal
	fi
	own logging-journal-directory /var/log/journal 2755 root systemd-journal
	if is_booted && ((isms_changes > before)); then
		systemctl restart systemd-journald.service || die "the journal does not start"
		systemctl kill --kill-who=main -s USR1 systemd-journald.service || note "the journal moves to the disk at the next boot"
	fi
}

# --- rotation --------------------------------------------------------------------------------------------------------

rotate_long_enough() { # FILE GLOBAL_FREQUENCY [main]: raise `rotate` and `maxage` of the logs we answer for
	local file=$1 new
	new=$(beside "$file")
	ISMS_LOGS="${kept_logs[*]} " ISMS_DAYS=$logging_retention_days ISMS_FREQUENCY=$2 ISMS_MAIN=${3:-} awk '
		function days_of(word) { return word == "daily" ? 1 : word == "weekly" ? 7 : word == "monthly" ? 30 : word == "yearly" ? 365 : 0 }
		function needed(frequency) { return int((days + days_of(frequency) - 1) / days_of(frequency)) }
		function finish(from, to, ours, frequency, main,    n, word, seen, part) {
			# Raise within line[from..to]; a block of ours that has no number of its own lives by the global one.
			for (n = from; n <= to; n++) {
				if (skip[n]) continue
				split(line[n], part); word = part[1]
				if (!ours) continue
				if (word == "rotate") { seen = 1; if (part[2] + 0 < needed(frequency) && part[2] != "-1") line[n] = indent(line[n]) "rotate " needed(frequency) }
				if (word == "maxage" && part[2] + 0 < days) line[n] = indent(line[n]) "maxage " days
			}
			if (!seen && (main || (ours && own_frequency))) line[from] = line[from] "\n" (main ? "" : "    ") "rotate " needed(frequency)
		}
		function indent(text) { match(text, /^[ \t]*/); return substr(text, 1, RLENGTH) }
		BEGIN { days = ENVIRON["ISMS_DAYS"] + 0; global = ENVIRON["ISMS_FREQUENCY"]; logs = ENVIRON["ISMS_LOGS"] }
		{ sub(/\r$/, ""); line[NR] = $0; bare = $0; sub(/^[ \t]+/, "", bare); split(bare, part); word = part[1] }
		script { skip[NR] = 1; if (word == "endscript") script = 0; next }
		word ~ /^(postrotate|prerotate|firstaction|lastaction|preremove)$/ { skip[NR] = 1; script = 1; next }
		bare ~ /^#/ { skip[NR] = 1; next }
		!inside && bare ~ /^[\/"]/ { header = header " " bare }
		!inside && index(bare, "{") {
			inside = 1; start = NR; own_frequency = ""; ours = 0
			text = header " "; gsub(/[{"]/, " ", text); count = split(text, name)
			for (n = 1; n <= count; n++) if (index(logs, name[n] " ")) ours = 1
			header = ""; next
		}
		inside && word ~ /^(daily|weekly|monthly|yearly)$/ { own_frequency = word }
		inside && index(bare, "}") { inside = 0; finish(start, NR, ours, own_frequency ? own_frequency : global, 0); next }
		!inside && ENVIRON["ISMS_MAIN"] != "" {
			if (word == "rotate") { top_rotate = NR; if (part[2] + 0 < needed(global) && part[2] != "-1") line[NR] = "rotate " needed(global) }
			if (word == "maxage" && part[2] + 0 < days) line[NR] = "maxage " days
			if (word ~ /^(daily|weekly|monthly|yearly)$/) top_frequency = NR
		}
		END {
			if (ENVIRON["ISMS_MAIN"] != "" && !top_frequency) print global
			if (ENVIRON["ISMS_MAIN"] != "" && !top_rotate) print "rotate " needed(global)
			for (n = 1; n <= NR; n++) print line[n]
		}
	' "$file" >"$new"
	swap logging-retention "$new" "$file"
}

global_frequency() { # how often /etc/logrotate.conf rotates what says nothing itself
	awk '
		{ sub(/\r$/, "") }
		/\{/ { inside = 1 }
		!inside && $1 ~ /^(daily|weekly|monthly|yearly)$/ { found = $1 }
		/\}/ { inside = 0 }
		END { print found ? found : "weekly" }
	' /etc/logrotate.conf
}

rotation_block() { # LOG
	case $1 in
	/var/log/wtmp) printf '%s {\n    missingok\n    monthly\n    create 0664 root utmp\n    rotate %d\n}\n' "$1" $(((logging_retention_days + 29) / 30)) ;;
	/var/log/btmp) printf '%s {\n    missingok\n    monthly\n    create 0600 root utmp\n    rotate %d\n}\n' "$1" $(((logging_retention_days + 29) / 30)) ;;
	/var/log/sudo.log) printf '%s {\n    missingok\n    notifempty\n    weekly\n    create 0600 root root\n    rotate %d\n}\n' "$1" $(((logging_retention_days + 6) / 7)) ;;
	*)
		printf '%s {\n    missingok\n    weekly\n    rotate %d\n    postrotate\n' "$1" $(((logging_retention_days + 6) / 7))
		printf '        /usr/bin/systemctl kill -s HUP --kill-who=main rsyslog.service >/dev/null 2>&1 || true\n    endscript\n}\n'
		;;
	esac
}

rotation_missing() { # blocks for the logs that no other file names; logrotate refuses a log that is named twice
	local log file others=
	for file in /etc/logrotate.conf /etc/logrotate.d/*; do
		[[ -f $file && $file != "$our_rotation" ]] || continue
		others+=$(sed 's/\r$//; s/#.*//; s/[{"]/ /g' -- "$file")$'\n'
	done
	for log in "${kept_logs[@]}"; do
		case $log in /var/log/messages | /var/log/secure | /var/log/cron) wants_rsyslog || continue ;; esac
		grep -qE "(^|[[:space:]])${log//./\\.}([[:space:]]|\$)" <<<"$others" || rotation_block "$log"
	done
}

rotation_valid() { # a mistake has a file and a line; a log that is not there is no mistake of the configuration
	local said
	said=$(logrotate -d /etc/logrotate.conf 2>&1 || :)
	! grep -qE '^error: [^ ]+:[0-9]+ ' <<<"$said"
}

apply_rotation() {
	local file frequency new
	need_package logging-logrotate-installed logrotate
	[[ -f /etc/logrotate.conf ]] || {
		printf '# Written by the ISMS hardening, since there was none.\nweekly\ncreate\ndateext\ninclude /etc/logrotate.d\n' >/etc/logrotate.conf
		changed logging-retention /etc/logrotate.conf
	}
	frequency=$(global_frequency)
	rotate_long_enough /etc/logrotate.conf "$frequency" main
	for file in /etc/logrotate.d/*; do
		case $file in *.rpmsave | *.rpmnew | *.rpmorig | *~ | "$our_rotation") continue ;; esac
		if [[ -f $file ]]; then rotate_long_enough "$file" "$frequency"; fi
	done
	new=$(beside "$our_rotation")
	rotation_missing >"$new"
	chmod 0644 -- "$new"
	if [[ -s $new ]]; then
		swap logging-sudo-rotation "$new" "$our_rotation"
	else
		rm -f -- "$new"
		if [[ -e $our_rotation ]]; then
			rm -f -- "$our_rotation"
			changed logging-sudo-rotation "$our_rotation removed, others have it all"
		fi
	fi
	rotation_valid || die "logrotate refuses its configuration: logrotate -d /etc/logrotate.conf"
	schedule_rotation
}

rotates_by_cron() {
	[[ -x /etc/cron.daily/logrotate ]] && has_unit crond.service
}

schedule_rotation() {
	if has_unit logrotate.timer; then
		enable_unit logging-logrotate-scheduled logrotate.timer
		start_unit logging-logrotate-scheduled logrotate.timer
	elif rotates_by_cron; then
		enable_unit logging-logrotate-scheduled crond.service
	else
		place logging-logrotate-scheduled "$isms_files/logging/logrotate.service" /etc/systemd/system/logrotate.service 0644
		place logging-logrotate-scheduled "$isms_files/logging/logrotate.timer" /etc/systemd/system/logrotate.timer 0644
		if is_booted; then systemctl daemon-reload; fi
		enable_unit logging-logrotate-scheduled logrotate.timer
		start_unit logging-logrotate-scheduled logrotate.timer
	fi
}

# --- files -----------------------------------------------------------------------------------------------------------

wide_logs() { # log files with permission bits beyond the mode; login records (utmp group) and the journal have modes of their own
	find /var/log -xdev -type f -perm "/$(printf '%04o' $((8#7777 & ~8#$logging_file_mode)))" \
		! -path '/var/log/journal/*' ! -path '/var/log/wtmp*' ! -path '/var/log/btmp*' ! -path '/var/log/lastlog*' -print0
}

system_logs() { # the logs that belong to root, those that are there
	find /var/log -maxdepth 1 -type f \( -name messages -o -name secure -o -name cron -o -name maillog -o -name spooler -o -name boot.log \
		-o -name sudo.log -o -name 'cloud-init*.log' -o -name yum.log -o -name 'dnf*.log' -o -name hawkey.log -o -name wtmp -o -name btmp -o -name lastlog \) "$@"
}

apply_files() {
	local file
	tighten logging-directory /var/log 0755 root root
	while IFS= read -r -d '' file; do
		tighten logging-file-modes "$file" "$logging_file_mode"
	done < <(wide_logs)
	while IFS= read -r -d '' file; do
		chown root -- "$file"
		changed logging-file-owners "$file owned by root"
	done < <(system_logs ! -user root -print0)
	if [[ ! -e /var/log/btmp ]]; then
		install -m 0600 -o root -g utmp /dev/null /var/log/btmp
		changed logging-failed-logins /var/log/btmp
	fi
	tighten logging-failed-logins /var/log/btmp 0660 root utmp
	if [[ ! -e /var/log/wtmp ]]; then
		install -m 0664 -o root -g utmp /dev/null /var/log/wtmp
		changed logging-login-records /var/log/wtmp
	fi
	tighten logging-login-records /var/log/wtmp 0664 root utmp
	tighten logging-login-records /var/log/lastlog 0664 root utmp
	if [[ -d /etc/cloud ]]; then place logging-file-modes "$isms_files/logging/tmpfiles.conf" /etc/tmpfiles.d/isms-logging.conf 0644; fi
}

apply() {
	if wants_rsyslog; then apply_rsyslog; else note "rsyslog is not wanted here (logging_rsyslog): the journal is the log"; fi
	apply_journal
	apply_rotation
	apply_files
}

# --- check -----------------------------------------------------------------------------------------------------------

check_rsyslog() {
	local index text file wide='' open=
	holds logging-rsyslog-installed installed has_package rsyslog
	verdict logging-rsyslog-enabled enabled "$(systemctl is-enabled rsyslog.service 2>/dev/null || :)"
	if is_booted; then verdict logging-rsyslog-active active "$(systemctl is-active rsyslog.service 2>/dev/null || :)"; fi
	text=$(
		rsyslog_text
		cat -- "$our_conf" 2>/dev/null || :
	)
	for index in "${!selector_rules[@]}"; do
		if grep -qiE -- "${selector_looks[index]}" <<<"$text"; then pass "${selector_rules[index]}"; else fail "${selector_rules[index]}" "${selector_lines[index]}" absent; fi
	done
	verdict logging-rsyslog-file-mode "$logging_file_mode" "$(active_value "$our_conf" "\$FileCreateMode")"
	for file in "$main_conf" /etc/rsyslog.d/*.conf; do
		[[ -f $file ]] || continue
		if ((8#$(stat -L -c %a -- "$file") & ~8#0640)); then wide+=" $file"; fi
		without_network "$file" | cmp -s -- - <(sed 's/\r$//' -- "$file") || open+=" $file"
	done
	verdict logging-no-remote-reception "" "$open"
	verdict logging-rsyslog-config-permissions "" "$wide"
}

check() {
	local wide owners
	if wants_rsyslog; then check_rsyslog; fi
	verdict logging-journal-persistent persistent "$(active_value "$journal_conf" Storage)"
	holds logging-journal-directory "a directory" test -d /var/log/journal
	holds logging-logrotate-installed installed has_package logrotate
	holds logging-retention "a configuration that logrotate accepts" rotation_valid
	if systemctl -q is-enabled logrotate.timer 2>/dev/null || rotates_by_cron; then
		pass logging-logrotate-scheduled
	else
		fail logging-logrotate-scheduled "a timer or a daily job" none
	fi
	wide=$(wide_logs | tr '\0' ' ')
	verdict logging-file-modes "" "$wide"
	owners=$(system_logs ! -user root -print0 | tr '\0' ' ')
	verdict logging-file-owners "" "$owners"
	holds logging-failed-logins /var/log/btmp test -f /var/log/btmp
}

isms_main "$@"
