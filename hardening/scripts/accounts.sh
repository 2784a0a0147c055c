#!/usr/bin/env bash
# Which accounts there are, what they may become, and how their shells begin. Rules: every accounts-… rule.
#
# What cannot be repaired without knowing the owner's mind (a second UID 0, numbers or names that come twice) is left alone
# and fails the check. ec2-user, ssm-user and the accounts of agents keep what they need.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

passwd=/etc/passwd
shadow=/etc/shadow
group=/etc/group
login_defs=/etc/login.defs
shell_file=/etc/profile.d/zz-isms.sh
csh_file=/etc/profile.d/zz-isms.csh
needless='lp uucp nuucp games ftp gopher news'

among() { # WORD LIST: whether a list of words between commas or blanks holds the word
	[[ " ${2//,/ } " == *" $1 "* ]]
}

is_locked() { # HASH: nobody can log in with it
	[[ $1 == '!'* || $1 == '*'* ]]
}

hash_of() { # NAME
	awk -F: -v name="$1" '$1 == name { print $2; exit }' "$shadow"
}

limit() { # KEY DEFAULT: a number of login.defs
	local value
	value=$(active_value "$login_defs" "$1")
	printf '%s' "${value:-$2}"
}

is_system() { # UID: an account of the system, not of a person
	[[ $1 =~ ^[0-9]+$ ]] && (($1 != 0 && ($1 < uid_min || $1 > uid_max)))
}

no_shell() { # SHELL: one that lets nobody in
	[[ $1 == */nologin || $1 == */false ]]
}

people() { # print NAME UID GID HOME of root and of everybody who has a log-in shell and is no account of the system
	local name uid gid home shell
	while IFS=: read -r name _ uid gid _ home shell; do
		[[ $name != [+#]* && $uid =~ ^[0-9]+$ ]] || continue
		if no_shell "${shell%$'\r'}" || is_system "$uid"; then continue; fi
		printf '%s %s %s %s\n' "$name" "$uid" "$gid" "$home"
	done <"$passwd"
}

members() { # GROUP
	awk -F: -v name="$1" '$1 == name { gsub(",", " ", $4); print $4 }' "$group"
}

weaker() { # MASK: an umask that leaves bits open which ours closes
	[[ ! $1 =~ ^[0-7]+$ ]] || ((8#$accounts_umask & ~8#$1))
}

# --- files of accounts -------------------------------------------------------------------------------------------

apply_databases() {
	local file new
	for file in "$passwd" "$shadow" "$group" /etc/gshadow; do
		grep -qs '^+' -- "$file" || continue
		new=$(beside "$file")
		sed '/^+/d' "$file" >"$new"
		swap accounts-legacy-entries "$new" "$file"
	done
	if awk -F: '$2 != "x" { found = 1 } END { exit !found }' "$passwd"; then
		pwconv || die "pwconv fails"
		changed accounts-shadowed "$passwd"
	fi
}

apply_passwords() {
	local name hash uid shell
	while IFS=: read -r name hash _; do
		[[ -z $hash ]] || continue
		usermod -L -- "$name"
		changed accounts-empty-passwords "$name locked"
	done < <(cat -- "$shadow")
	while IFS=: read -r name _ uid _ _ _ shell; do
		is_system "$uid" || continue
		hash=$(hash_of "$name")
		if [[ -n $hash ]] && ! is_locked "$hash"; then
			usermod -L -- "$name"
			changed accounts-system-passwords "$name locked"
		fi
		if ! no_shell "$shell" && ! among "$name" "$accounts_login_shell_users"; then
			usermod -s /sbin/nologin -- "$name"
			changed accounts-system-shells "$name $shell -> /sbin/nologin"
		fi
	done < <(cat -- "$passwd")
}

needless_users() { # default accounts that somebody could use
	local name shell hash
	while IFS=: read -r name _ _ _ _ _ shell; do
		among "$name" "$needless" || continue
		hash=$(hash_of "$name")
		if no_shell "$shell" && { [[ -z $hash ]] || is_locked "$hash"; }; then continue; fi
		printf '%s\n' "$name"
	done <"$passwd"
}

apply_needless() {
	local name
	for name in $(needless_users); do
		usermod -L -s /sbin/nologin -- "$name"
		changed accounts-needless "$name locked"
	done
}

apply_root() {
	local name shell
	if ! is_locked "$(hash_of root)"; then
		usermod -L root
		changed accounts-root-password locked
	fi
	shell=$(awk -F: '$1 == "root" { print $7 }' "$passwd")
	if no_shell "$shell" || [[ ! -x $shell ]]; then
		usermod -s /bin/bash root
		changed accounts-root-shell "$shell -> /bin/bash"
	fi
	if [[ $(awk -F: '$1 == "root" { print $4 }' "$passwd") != 0 ]]; then
		usermod -g 0 root
		changed accounts-root-group 0
	fi
	for name in $(members root); do
		[[ $name != root ]] || continue
		gpasswd -d "$name" root >/dev/null
		changed accounts-root-group-members "$name left root"
	done
	for name in $(members wheel); do
		! among "$name" "$accounts_admin_members" || continue
		gpasswd -d "$name" wheel >/dev/null
		changed accounts-admin-members "$name left wheel"
	done
}

# --- su ----------------------------------------------------------------------------------------------------------

su_files() { # the stacks of su that do not just include another one of them
	local file
	for file in /etc/pam.d/su /etc/pam.d/su-l; do
		[[ -e $file ]] && ! grep -qE '^auth[[:space:]]+(include|substack)[[:space:]]+su[[:space:]]*$' -- "$file" && printf '%s\n' "$file"
	done
	return 0
}

with_wheel() { # FILE: print it with pam_wheel right after pam_rootok, root needing no password as before
	awk '
		{ sub(/\r$/, "") }
		/^[ \t]*#?[ \t]*auth[ \t]+(required|requisite)[ \t]+pam_wheel\.so[ \t]+use_uid[ \t]*$/ { next }
		/^[ \t]*-?auth[ \t].*pam_wheel\.so/ { next }
		{ lines[++n] = $0 }
		/^[ \t]*-?auth[ \t]/ && !first { first = n }
		/^[ \t]*-?auth[ \t].*pam_rootok\.so/ && !rootok { rootok = n }
		END {
			for (i = 1; i <= n; i++) {
				if (!rootok && i == first) print wheel()
				print lines[i]
				if (i == rootok) print wheel()
			}
		}
		function wheel() { return "auth\t\trequired\tpam_wheel.so use_uid" }
	' "$1"
}

has_module() { # NAME: a PAM module of this name is installed
	local folder
	for folder in /usr/lib64/security /lib64/security /usr/lib/security /usr/lib/*/security; do
		[[ ! -e $folder/$1 ]] || return 0
	done
	return 1
}

apply_su() {
	local file new
	has_module pam_wheel.so || die "there is no pam_wheel.so: nobody could use su"
	getent group wheel >/dev/null || {
		groupadd -r wheel
		changed accounts-su "group wheel"
	}
	while read -r file; do
		new=$(beside "$(real "$file")")
		with_wheel "$file" >"$new"
		swap accounts-su "$new" "$(real "$file")"
	done < <(su_files)
}

# --- shells ------------------------------------------------------------------------------------------------------

symbolic() { # the umask as a change that only ever takes away
	local text='' digit names=(u g o) i bits
	for i in 0 1 2; do
		digit=${accounts_umask:$((${#accounts_umask} - 3 + i)):1}
		bits=
		if ((digit & 4)); then bits=${bits}r; fi
		if ((digit & 2)); then bits=${bits}w; fi
		if ((digit & 1)); then bits=${bits}x; fi
		if [[ -n $bits ]]; then text=$text,${names[i]}-$bits; fi
	done
	printf '%s' "${text#,}"
}

shell_text() {
	cat <<-END
		# Written by the hardening; change the parameters, not this text.
		# A stricter mask of others stays: this one only takes bits away.
		umask $(symbolic)
		# An idle shell ends. A stricter limit of others stays.
		if ! [ "\${TMOUT:-0}" -gt 0 ] 2>/dev/null || [ "\$TMOUT" -gt $accounts_tmout ]; then
		  TMOUT=$accounts_tmout
		fi
		readonly TMOUT
		export TMOUT
	END
}

csh_text() {
	cat <<-END
		# Written by the hardening; change the parameters, not this text.
		umask ${accounts_umask#0}
		set -r autologout=$((accounts_tmout / 60))
	END
}

put_text() { # RULE FILE TEXT…: exactly this text, 0644 root
	local new
	new=$(beside "$2")
	printf '%s\n' "$3" >"$new"
	chmod 0644 -- "$new"
	swap "$1" "$new" "$2"
	own "$1" "$2" 0644 root root
}

# Print a start-up file with weaker masks and idle limits made ours; everything else, its structure too, stays.
stricter() { # FILE
	awk -v mask="${accounts_umask#0}" -v tmout="$accounts_tmout" '
		function octal(text,    i, value) { for (i = 1; i <= length(text); i++) value = value * 8 + substr(text, i, 1); return value }
		function open(have, want,    bit) {
			for (bit = 1; bit < 512; bit *= 2) if (int(want / bit) % 2 && !(int(have / bit) % 2)) return 1
			return 0
		}
		{ sub(/\r$/, ""); rest = $0; done = "" }
		/^[ \t]*#/ { print; next }
		{
			while (match(rest, /(^|[ \t;&|({])umask[ \t]+0?[0-7][0-7][0-7]?([ \t;&|)}]|$)/)) {
				part = substr(rest, RSTART, RLENGTH); number = part; gsub(/[^0-7]/, "", number)
				if (open(octal(number), octal(mask))) sub(/0?[0-7][0-7][0-7]?/, mask, part)
				done = done substr(rest, 1, RSTART - 1) part; rest = substr(rest, RSTART + RLENGTH)
			}
			rest = done rest; done = ""
			while (match(rest, /(^|[ \t;&|({])TMOUT=[^ \t;&|)}]*/)) {
				part = substr(rest, RSTART, RLENGTH); number = part; sub(/^.*TMOUT=/, "", number); gsub(/["\047]/, "", number)
				if (number !~ /^[0-9]+$/ || number + 0 < 1 || number + 0 > tmout) sub(/TMOUT=.*/, "TMOUT=" tmout, part)
				done = done substr(rest, 1, RSTART - 1) part; rest = substr(rest, RSTART + RLENGTH)
			}
			rest = done rest
			gsub(/unset[ \t]+TMOUT/, ":", rest)
			print rest
		}
	' "$1"
}

absolute_path() { # FILE: print it without relative or empty elements where PATH is assigned
	sed -E '/^[ \t]*#/!{
		/PATH=/{
			s/=(["'\'']?)(\.?:)+/=\1/g
			s/:\.?(:\.?)*:/:/g
			s/:\.?(["'\'' ;]|$)/\1/g
		}
	}' "$1"
}

start_up_files() {
	local file
	for file in /etc/profile /etc/bashrc /etc/bash.bashrc /etc/csh.cshrc /etc/csh.login /etc/profile.d/*.sh /etc/profile.d/*.csh \
		/root/.bash_profile /root/.bashrc /root/.profile; do
		[[ -f $file && $file != "$shell_file" && $file != "$csh_file" ]] && printf '%s\n' "$file"
	done
	return 0
}

apply_shells() {
	local file new rule
	for file in /etc/profile /etc/bashrc; do [[ -e $file ]] || die "$file is missing: reinstall setup"; done
	while read -r file; do
		new=$(beside "$(real "$file")")
		stricter "$file" >"$new"
		rule=accounts-umask-files
		if cmp -s -- "$new" "$file"; then
			absolute_path "$file" >"$new"
			rule=accounts-root-path
		else
			absolute_path "$new" >"$new.path"
			mv -f -- "$new.path" "$new"
		fi
		if [[ $file != *csh* ]] && bash -n "$file" 2>/dev/null && ! bash -n "$new" 2>/dev/null; then
			rm -f -- "$new"
			die "$file would no longer be a shell script; change its umask, TMOUT and PATH by hand"
		fi
		swap "$rule" "$new" "$(real "$file")"
	done < <(start_up_files)
	put_text accounts-tmout "$shell_file" "$(shell_text)"
	put_text accounts-tmout "$csh_file" "$(csh_text)"
	if weaker "$(login_defs_umask)"; then assign accounts-umask-login-defs "$login_defs" UMASK "${accounts_umask#0}" ' '; fi
}

login_defs_umask() {
	local value
	value=$(active_value "$login_defs" UMASK)
	if [[ $value =~ ^[0-7]+$ ]]; then printf '%s' "$value"; else printf 0; fi
}

log_in() { # COMMAND: the last line that it prints in a log-in shell of root
	env -i HOME=/root USER=root LOGNAME=root SHELL=/bin/bash PATH="$PATH" bash -lc "$1" 2>/dev/null </dev/null | tail -n 1
}

# shellcheck disable=SC2016  # root's shell expands it
root_path() { # what a log-in shell of root looks through
	log_in 'printf "\n%s\n" "$PATH"'
}

apply_path_folders() {
	local folder
	while read -r folder; do
		[[ $folder == /* && -d $folder ]] || continue
		if (($(stat -L -c '0%a' -- "$folder") & 022)) || [[ $(stat -L -c %u -- "$folder") != 0 ]]; then
			chown root -- "$folder"
			chmod go-w -- "$folder"
			changed accounts-root-path-folders "$folder"
		fi
	done < <(root_path | tr : '\n')
}

# --- homes -------------------------------------------------------------------------------------------------------

apply_homes() {
	local name uid gid home file
	while read -r name uid gid home; do
		[[ $home == /?* ]] || continue
		if [[ ! -d $home ]]; then
			install -d -m 0700 -o "$uid" -g "$gid" -- "$home"
			changed accounts-homes-exist "$home of $name"
		fi
		tighten accounts-home-modes "$home" 0750
		if [[ $(stat -L -c %u -- "$home") != "$uid" ]]; then
			chown -- "$uid" "$home"
			changed accounts-home-modes "$home owned by $name"
		fi
		for file in "$home"/.[!.]*; do
			[[ -f $file && ! -L $file ]] || continue
			case ${file##*/} in
			.rhosts | .shosts)
				rm -f -- "$file"
				changed accounts-trust-files "$file removed"
				continue
				;;
			.netrc | .forward)
				rm -f -- "$file"
				changed accounts-netrc "$file removed"
				continue
				;;
			esac
			if (($(stat -c '0%a' -- "$file") & 022)); then
				chmod go-w -- "$file"
				changed accounts-dot-files "$file"
			fi
			if [[ $(stat -c %u -- "$file") != "$uid" && $(stat -c %u -- "$file") != 0 ]]; then
				chown -- "$uid" "$file"
				changed accounts-dot-files "$file owned by $name"
			fi
		done
	done < <(people)
	for file in /etc/hosts.equiv /etc/shosts.equiv; do
		[[ -e $file || -L $file ]] || continue
		rm -f -- "$file"
		changed accounts-trust-files "$file removed"
	done
}

apply_inactive() {
	local now
	now=$(useradd -D | sed -n 's/^INACTIVE=//p')
	if [[ ! $now =~ ^[0-9]+$ ]] || ((now < 1 || now > accounts_inactive_days)); then
		# Not by useradd: it edits the first of several lines, and reads the last.
		assign accounts-inactive /etc/default/useradd INACTIVE "$accounts_inactive_days" =
	fi
}

read_limits() {
	uid_min=$(limit UID_MIN 1000)
	uid_max=$(limit UID_MAX 60000)
}

apply() {
	read_limits
	apply_databases
	apply_passwords
	apply_needless
	apply_root
	apply_su
	apply_shells
	apply_path_folders
	apply_homes
	apply_inactive
}

# --- checks ------------------------------------------------------------------------------------------------------

repeated() { # FILE FIELD: values that come more than once
	cut -d: -f"$2" -- "$1" | grep -v '^[+#]' | sort | uniq -d | tr '\n' ' '
}

empty_groups() { # groups of people that nobody is in, beside those that may be
	local name gid users low high
	low=$(limit GID_MIN 1000)
	high=$(limit GID_MAX 60000)
	while IFS=: read -r name _ gid users; do
		[[ $name != [+#]* && -z $users && $gid =~ ^[0-9]+$ ]] || continue
		((gid >= low && gid <= high)) || continue
		among "$name" "$accounts_allowed_groups" && continue
		awk -F: -v gid="$gid" '$4 == gid { found = 1 } END { exit !found }' "$passwd" || printf '%s ' "$name"
	done <"$group"
}

check_databases() {
	local name uid shell hash found=
	verdict accounts-empty-groups '' "$(empty_groups)"
	verdict accounts-needless '' "$(needless_users)"
	verdict accounts-uid-zero 'root ' "$(awk -F: '$3 == 0 { printf "%s ", $1 }' "$passwd")"
	verdict accounts-duplicate-uids '' "$(repeated "$passwd" 3)"
	verdict accounts-duplicate-gids '' "$(repeated "$group" 3)"
	verdict accounts-duplicate-users '' "$(repeated "$passwd" 1)"
	verdict accounts-duplicate-groups '' "$(repeated "$group" 1)"
	verdict accounts-primary-groups '' "$(awk -F: 'NR == FNR { have[$3] = 1; next } !($4 in have) { printf "%s ", $1 }' "$group" "$passwd")"
	verdict accounts-shadowed '' "$(awk -F: '$2 != "x" { printf "%s ", $1 }' "$passwd")"
	verdict accounts-empty-passwords '' "$(awk -F: '$2 == "" { printf "%s ", $1 }' "$shadow")"
	verdict accounts-legacy-entries '' "$(grep -l '^+' "$passwd" "$shadow" "$group" || :)"
	while IFS=: read -r name _ uid _ _ _ shell; do
		is_system "$uid" || continue
		hash=$(hash_of "$name")
		if [[ -n $hash ]] && ! is_locked "$hash"; then found="$found password:$name"; fi
		if ! no_shell "$shell" && ! among "$name" "$accounts_login_shell_users"; then found="$found shell:$name"; fi
	done <"$passwd"
	verdict accounts-system-passwords '' "$(tr ' ' '\n' <<<"$found" | grep '^password:' || :)"
	verdict accounts-system-shells '' "$(tr ' ' '\n' <<<"$found" | grep '^shell:' || :)"
}

check_root() {
	local name extra=
	if is_locked "$(hash_of root)"; then pass accounts-root-password; else fail accounts-root-password locked usable; fi
	verdict accounts-root-shell /bin/bash "$(awk -F: '$1 == "root" { print $7 }' "$passwd")"
	verdict accounts-root-group 0 "$(awk -F: '$1 == "root" { print $4 }' "$passwd")"
	verdict accounts-root-group-members '' "$(members root | tr ' ' '\n' | grep -vx root || :)"
	for name in $(members wheel); do
		among "$name" "$accounts_admin_members" || extra="$extra $name"
	done
	verdict accounts-admin-members '' "$extra"
}

check_shells() {
	local file weak='' folder loose='' relative='' element elements
	while read -r file; do
		with_wheel "$file" | cmp -s -- - "$file" || weak="$weak $file"
	done < <(su_files)
	verdict accounts-su '' "$weak"
	weak=
	while read -r file; do
		stricter "$file" | cmp -s -- - <(tr -d '\r' <"$file") || weak="$weak $file"
	done < <(start_up_files)
	verdict accounts-umask-files '' "$weak"
	verdict accounts-tmout "$(shell_text)" "$(cat -- "$shell_file" 2>/dev/null || :)"
	# shellcheck disable=SC2016  # root's shell expands it
	verdict accounts-tmout-readonly yes "$(log_in 'unset TMOUT; [ "${TMOUT:-0}" -gt 0 ] && echo yes')"
	if weaker "$(log_in umask)"; then fail accounts-umask "$accounts_umask" weaker; else pass accounts-umask; fi
	if weaker "$(login_defs_umask)"; then fail accounts-umask-login-defs "$accounts_umask" "$(login_defs_umask)"; else pass accounts-umask-login-defs; fi
	IFS=: read -r -a elements <<<"$(root_path):"
	for element in "${elements[@]}"; do
		[[ $element == /* ]] || relative="$relative [$element]"
		[[ -d $element ]] || continue
		folder=$(stat -L -c '%a %u' -- "$element")
		if ((0${folder% *} & 022)) || [[ ${folder#* } != 0 ]]; then loose="$loose $element"; fi
	done
	verdict accounts-root-path '' "$relative"
	verdict accounts-root-path-folders '' "$loose"
}

check_homes() {
	local name uid home file missing='' modes='' dots='' trust='' netrc='' now
	while read -r name uid _ home; do
		if [[ $home != /?* || ! -d $home ]]; then
			missing="$missing $name"
			continue
		fi
		if (($(stat -L -c '0%a' -- "$home") & ~0750)) || [[ $(stat -L -c %u -- "$home") != "$uid" ]]; then modes="$modes $home"; fi
		for file in "$home"/.[!.]*; do
			[[ -f $file && ! -L $file ]] || continue
			case ${file##*/} in
			.rhosts | .shosts) trust="$trust $file" ;;
			.netrc | .forward) netrc="$netrc $file" ;;
			esac
			now=$(stat -c '%a %u' -- "$file")
			if ((0${now% *} & 022)) || [[ ${now#* } != "$uid" && ${now#* } != 0 ]]; then dots="$dots $file"; fi
		done
	done < <(people)
	for file in /etc/hosts.equiv /etc/shosts.equiv; do
		[[ ! -e $file ]] || trust="$trust $file"
	done
	verdict accounts-homes-exist '' "$missing"
	verdict accounts-home-modes '' "$modes"
	verdict accounts-dot-files '' "$dots"
	verdict accounts-trust-files '' "$trust"
	verdict accounts-netrc '' "$netrc"
	now=$(useradd -D | sed -n 's/^INACTIVE=//p')
	if [[ $now =~ ^[0-9]+$ ]] && ((now >= 1 && now <= accounts_inactive_days)); then
		pass accounts-inactive
	else
		fail accounts-inactive "1 to $accounts_inactive_days" "${now:-unset}"
	fi
}

check() {
	read_limits
	check_databases
	check_root
	check_shells
	check_homes
}

isms_main "$@"
