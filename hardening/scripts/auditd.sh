#!/usr/bin/env bash
# What the kernel records: who did what, with which rights, and that nobody can switch it off.
# Rules: auditd-* of rules/auditd.yaml. Parameters: auditd_max_log_file, auditd_num_logs, auditd_max_log_file_action,
# auditd_space_left_action, auditd_disk_full_action, auditd_backlog_limit.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

conf=/etc/audit/auditd.conf
folder=/etc/audit/rules.d
base=$folder/10-isms-base.rules
events=$folder/50-isms.rules
privileged=$folder/60-isms-privileged.rules
final=$folder/99-finalize.rules
merged=/etc/audit/audit.rules
tools=(/sbin/auditctl /sbin/auditd /sbin/augenrules /sbin/ausearch /sbin/aureport /sbin/autrace)

conf_rules=(auditd-log-size auditd-log-count auditd-log-action auditd-space-left auditd-disk-full auditd-disk-full auditd-disk-full auditd-writes auditd-writes auditd-log-permissions)
conf_keys=(max_log_file num_logs max_log_file_action space_left_action admin_space_left_action disk_full_action disk_error_action write_logs local_events log_group)

conf_values() { # the values of conf_keys, in their order
	printf '%s\n' "$auditd_max_log_file" "$auditd_num_logs" "$auditd_max_log_file_action" "$auditd_space_left_action" \
		"$auditd_disk_full_action" "$auditd_disk_full_action" "$auditd_disk_full_action" yes yes root
}

kernel_answers() { # no other pid or user namespace than the first may talk to the kernel's audit
	auditctl -s >/dev/null 2>&1
}

# --- the rules -------------------------------------------------------------------------------------------------------

arches() { # the ABIs whose system calls can be called here
	case $(uname -m) in
	x86_64) echo b64 b32 ;;
	*) echo b64 ;;
	esac
}

legacy() { # CALLS: system calls that arm64 never had; nothing there
	[[ $(uname -m) == x86_64 ]] && printf '%s,' "$1"
	return 0
}

watch() { # KEY PERMISSIONS PATH…: those that can be watched: auditctl refuses a path whose folder is not there
	local path
	for path in "${@:3}"; do
		if [[ -d $(dirname -- "$path") ]]; then printf -- '-w %s -p %s -k %s\n' "$path" "$2" "$1"; fi
	done
}

calls() { # KEY CALLS FILTER…: for every ABI
	local arch
	for arch in $(arches); do
		printf -- '-a always,exit -F arch=%s -S %s%s -k %s\n' "$arch" "$2" "${3:+ ${*:3}}" "$1"
	done
}

event_rules() { # the key of each is the end of its rule's id: auditd-rules-KEY
	local users="-F auid>=1000 -F auid!=unset"
	calls time-change adjtimex,settimeofday
	calls time-change clock_settime -F a0=0x0
	watch time-change wa /etc/localtime /etc/chrony.conf
	watch identity wa /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/security/opasswd /etc/nsswitch.conf /etc/pam.d
	calls system-locale sethostname,setdomainname
	watch system-locale wa /etc/issue /etc/issue.net /etc/hosts /etc/hostname /etc/resolv.conf /etc/sysconfig/network \
		/etc/sysconfig/network-scripts /etc/systemd/network
	watch mac-policy wa /etc/selinux /usr/share/selinux
	watch logins wa /var/log/lastlog /var/run/faillock /var/log/faillock
	watch session wa /var/run/utmp /var/log/wtmp /var/log/btmp
	calls permissions "$(legacy chmod)fchmod,fchmodat" "$users"
	calls permissions "$(legacy chown,lchown)fchown,fchownat" "$users"
	calls permissions setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr "$users"
	calls access "$(legacy creat,open)openat,truncate,ftruncate" -F exit=-EACCES "$users"
	calls access "$(legacy creat,open)openat,truncate,ftruncate" -F exit=-EPERM "$users"
	calls mounts mount "$users"
	calls deletion "$(legacy unlink,rename)unlinkat,renameat,renameat2" "$users"
	watch sudo-scope wa /etc/sudoers /etc/sudoers.d
	calls user-emulation execve -C euid!=uid -F auid!=unset
	watch sudo-log wa /var/log/sudo.log
	calls modules init_module,finit_module,delete_module "$users"
	watch modules wa /etc/modprobe.d
	watch sshd wa /etc/ssh/sshd_config /etc/ssh/sshd_config.d
	watch audit-config wa /etc/audit /etc/libaudit.conf
	watch audit-tools x "${tools[@]}"
	watch scheduled wa /etc/crontab /etc/cron.allow /etc/cron.d /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly \
		/var/spool/cron /etc/systemd/system
}

privileged_rules() { # every program that runs with rights its caller does not have
	local path
	find / -xdev -type f -perm /6000 -not -path '/proc/*' -print 2>/dev/null | sort | while IFS= read -r path; do
		printf -- '-a always,exit -F path=%s -F perm=x -F auid>=1000 -F auid!=unset -k privileged\n' "$path"
	done
	if [[ -x /usr/bin/kmod ]]; then printf -- '-a always,exit -F path=/usr/bin/kmod -F perm=x -F auid>=1000 -F auid!=unset -k modules\n'; fi
}

without_theirs() { # the lines of standard input that no file of others has: the kernel refuses a rule that it has
	ISMS_FOLDER=$folder awk '
		function normal(text) { sub(/\r$/, "", text); gsub(/[ \t]+/, " ", text); sub(/^ /, "", text); sub(/ $/, "", text); return text }
		NR == FNR && FILENAME != "-" { theirs[normal($0)] = 1; next }
		!(normal($0) in theirs)
	' <(their_rules) -
}

their_files() {
	local file
	for file in "$folder"/*.rules; do
		case $file in "$base" | "$events" | "$privileged" | "$final") continue ;; esac
		[[ ! -f $file ]] || printf '%s\n' "$file"
	done
}

their_rules() {
	local file
	while IFS= read -r file; do cat -- "$file"; done < <(their_files)
	printf '\n'
}

disarm() { # FILE: no `never` for all tasks, and no control settings beside ours
	local new
	new=$(beside "$1")
	sed -E -e 's/\r$//' -e '/^[[:space:]]*-[aA][[:space:]]+(never,task|task,never)([[:space:]]|$)/d' \
		-e '/^[[:space:]]*(-D|-b|-f|-e|-i|-c|--backlog_wait_time|--loginuid-immutable)([[:space:]]|$)/d' -- "$1" >"$new"
	swap auditd-no-never-task "$new" "$1"
}

install_rules() { # PATH TEXT RULE: 0640; without a rule, each key in TEXT that is new or changed has its own
	local path=$1 new key old=/dev/null
	new=$(beside "$path")
	printf '# Written by the ISMS hardening.\n%s\n' "$2" >"$new"
	chmod 0640 -- "$new"
	if [[ -f $path ]]; then old=$path; fi
	if [[ -z ${3:-} ]] && ! cmp -s -- "$new" "$old"; then
		while IFS= read -r key; do changed "auditd-rules-$key" "$path"; done < <(
			{
				grep -vxFf "$old" -- "$new"
				grep -vxFf "$new" -- "$old"
			} | sed -n 's/.* -k //p' | sort -u
		)
	fi
	swap "${3:-auditd-rules-merged}" "$new" "$path"
}

apply_rules() {
	local file text before=$isms_changes
	mkdir -p -- "$folder"
	while IFS= read -r file; do disarm "$file"; done < <(their_files)
	install_rules "$base" "$(printf -- '-D\n-b %s\n--backlog_wait_time 60000\n-f 1' "$auditd_backlog_limit")" auditd-buffer
	text=$(event_rules | without_theirs)
	install_rules "$events" "$text"
	text=$(privileged_rules | without_theirs)
	install_rules "$privileged" "$text"
	install_rules "$final" "$(printf '# No change of the rules until the next restart.\n-e 2')" auditd-rules-locked
	merge
	if ((isms_changes > before)); then load; fi
}

merge() { # augenrules writes the file only when it differs
	local old=""
	if [[ -f $merged ]]; then old=$(<"$merged"); fi
	augenrules >/dev/null || die "augenrules does not merge the rules"
	if [[ $old != "$(<"$merged")" ]]; then changed auditd-rules-merged "$merged"; fi
}

load() { # into the kernel, but not locked: other components may still come with rules of their own
	local now
	if ! kernel_answers; then
		note "the kernel takes no audit rules from here: they are loaded at the next boot"
		return 0
	fi
	if grep -q '^enabled 2' <<<"$(auditctl -s)"; then
		note "the audit rules are locked: the new ones are loaded at the next boot"
		return 0
	fi
	now=$(mktemp)
	grep -v '^-e' -- "$merged" >"$now"
	auditctl -R "$now" >/dev/null || die "the kernel refuses an audit rule: auditctl -R $merged"
	rm -f -- "$now"
}

# --- the daemon ------------------------------------------------------------------------------------------------------

apply_daemon() {
	local index new value values before=$isms_changes
	[[ -f $conf ]] || die "$conf is missing: reinstall audit"
	# auditd reads its keys in any case and takes the last one; one spelling makes duplicates visible.
	new=$(beside "$conf")
	awk '{ sub(/\r$/, "") } /^[ \t]*[A-Za-z_]+[ \t]*=/ { at = index($0, "="); $0 = tolower(substr($0, 1, at)) substr($0, at + 1) } { print }' "$conf" >"$new"
	swap auditd-config-permissions "$new" "$conf"
	mapfile -t values < <(conf_values)
	for index in "${!conf_keys[@]}"; do
		value=$(active_value "$conf" "${conf_keys[index]}")
		# auditd takes its words in any case; what is right already stays as its author wrote it.
		if [[ ${value,,} == "${values[index],,}" && $(grep -cE "^[[:space:]]*${conf_keys[index]}[[:space:]=]" -- "$conf") == 1 ]]; then continue; fi
		assign "${conf_rules[index]}" "$conf" "${conf_keys[index]}" "${values[index]}"
	done
	enable_unit auditd-enabled auditd.service
	is_booted || return 0
	if ! systemctl -q is-active auditd.service; then
		if systemctl start auditd.service 2>/dev/null; then changed auditd-active "auditd.service started"; else note "auditd does not start here: it does at the next boot"; fi
	elif ((isms_changes > before)); then
		systemctl kill --kill-who=main -s HUP auditd.service || note "auditd reads its configuration at the next boot"
	fi
}

apply_permissions() {
	local path
	own auditd-log-permissions /var/log/audit 0700 root root
	for path in /var/log/audit/audit.log*; do tighten auditd-log-permissions "$path" 0600 root root; done
	tighten auditd-config-permissions /etc/audit 0750 root root
	tighten auditd-config-permissions "$folder" 0750 root root
	for path in /etc/audit/*.conf /etc/audit/*.rules "$folder"/*; do
		if [[ -f $path ]]; then tighten auditd-config-permissions "$path" 0640 root root; fi
	done
	for path in "${tools[@]}"; do tighten auditd-tool-permissions "$path" 0755 root root; done
}

# --- the boot loader -------------------------------------------------------------------------------------------------

boot_words() { # TEXT: the same words, with audit on and a backlog of at least ours
	local word words=()
	for word in $1; do
		case $word in audit=* | audit_backlog_limit=*) ;; *) words+=("$word") ;; esac
	done
	words+=(audit=1 "audit_backlog_limit=$auditd_backlog_limit")
	printf '%s' "${words[*]}"
}

lacks_words() { # TEXT of grubby --info=ALL: whether a kernel starts without our two words
	ISMS_LIMIT=$auditd_backlog_limit awk '
		/^args=/ { words = " " substr($0, 6) " "; gsub(/"/, " ", words); if (words !~ / audit=1 / || !index(words, " audit_backlog_limit=" ENVIRON["ISMS_LIMIT"] " ")) lacks = 1 }
		END { exit !lacks }
	' <<<"$1"
}

apply_boot() {
	local line name value text new before=$isms_changes
	if [[ -f /etc/default/grub ]]; then
		new=$(beside /etc/default/grub)
		name=GRUB_CMDLINE_LINUX
		grep -q "^$name=" /etc/default/grub || name=GRUB_CMDLINE_LINUX_DEFAULT
		while IFS= read -r line || [[ -n $line ]]; do
			line=${line%$'\r'}
			if [[ $line == "$name="* ]]; then
				value=${line#*=}
				value=${value//[\"\']/}
				line="$name=\"$(boot_words "$value")\""
			fi
			printf '%s\n' "$line"
		done </etc/default/grub >"$new"
		grep -q "^$name=" "$new" || printf 'GRUB_CMDLINE_LINUX="%s"\n' "$(boot_words "")" >>"$new"
		swap auditd-boot-argument "$new" /etc/default/grub
	fi
	if command -v grubby >/dev/null 2>&1 && text=$(grubby --info=ALL 2>/dev/null); then
		if lacks_words "$text"; then
			grubby --update-kernel=ALL --args="audit=1 audit_backlog_limit=$auditd_backlog_limit" || die "grubby does not take audit=1"
			changed auditd-boot-argument "grubby: audit=1"
		fi
	elif command -v grub2-mkconfig >/dev/null 2>&1 && [[ -f /boot/grub2/grub.cfg ]]; then
		if ((isms_changes > before)); then grub2-mkconfig -o /boot/grub2/grub.cfg >/dev/null 2>&1 || die "grub2-mkconfig fails"; fi
	else
		note "no boot loader here: audit=1 is left to whoever starts the kernel"
	fi
}

apply() {
	need_package auditd-installed audit
	apply_daemon
	apply_rules
	apply_boot
	apply_permissions
}

# --- check -----------------------------------------------------------------------------------------------------------

check() {
	local index values value
	holds auditd-installed installed has_package audit
	verdict auditd-enabled enabled "$(systemctl is-enabled auditd.service 2>/dev/null || :)"
	mapfile -t values < <(conf_values)
	for index in "${!conf_keys[@]}"; do
		value=$(active_value "$conf" "${conf_keys[index]}")
		verdict "${conf_rules[index]}" "${values[index],,}" "${value,,}"
	done
	holds auditd-no-never-task "no rule that records nothing" not_in_rules '^[[:space:]]*-[aA][[:space:]]+(never,task|task,never)'
	verdict auditd-buffer "$auditd_backlog_limit" "$(active_value "$merged" -b)"
	verdict auditd-rules-locked 2 "$(active_value "$merged" -e)"
	check_events
}

check_events() { # one verdict per key, over all its lines
	local key text wanted
	text=$(sed 's/[[:space:]]*$//' -- "$merged" 2>/dev/null || :)
	wanted=$(
		event_rules
		privileged_rules
	)
	while IFS= read -r key; do
		verdict "auditd-rules-$key" "" "$(grep -E -- "-k $key\$" <<<"$wanted" | grep -vxF -- "$text" || :)"
	done < <(sed -n 's/.* -k //p' <<<"$wanted" | sort -u)
}

not_in_rules() {
	! grep -qE -- "$1" "$merged"
}

isms_main "$@"
