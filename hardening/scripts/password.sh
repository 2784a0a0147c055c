#!/usr/bin/env bash
# How passwords are chosen, stored, aged, remembered, and what wrong ones cost. Rules: every password-… rule.
#
# The PAM stacks are composed anew from what is there, examined, put in place by one rename, and tried; when the trial fails,
# the old text comes back. Where a stack is a link (authconfig on Amazon Linux 2), the link goes to a file of ours, so that
# the tool that owns the old one rewrites it without effect; where it is a plain file, that file is edited.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

stacks=(system-auth password-auth)
pam=/etc/pam.d
login_defs=/etc/login.defs
quality=/etc/security/pwquality.conf
lockout=/etc/security/faillock.conf
ageing=/usr/libexec/isms-password-ageing
unit=isms-password-ageing

# --- what this system's PAM can do -------------------------------------------------------------------------------

library() { # NAME: print the path of a library or PAM module
	local path
	for path in /usr/lib64/security/"$1" /lib64/security/"$1" /usr/lib64/"$1" /lib64/"$1" /usr/lib/*/security/"$1" /usr/lib/*/"$1"; do
		if [[ -e $path ]]; then
			printf '%s' "$path"
			return 0
		fi
	done
	return 1
}

mentions() { # LIBRARY TEXT: the library knows this word
	local path
	path=$(library "$1") && grep -qaF -- "$2" "$path"
}

# pam 1.1.8 reads no faillock.conf; there the options stand on the lines.
reads_lockout_file() {
	[[ -e $lockout ]] && mentions pam_faillock.so faillock.conf
}

lockout_options() {
	reads_lockout_file || printf ' silent audit deny=%s unlock_time=%s fail_interval=900 even_deny_root root_unlock_time=60' \
		"$password_lockout_attempts" "$password_lockout_seconds"
}

no_expiry_option() { # exempts log-ins that did not use the password, such as those by key
	if mentions pam_unix.so no_pass_expiry; then printf ' no_pass_expiry'; fi
}

# --- the stacks --------------------------------------------------------------------------------------------------

# Print a stack with the lines of ours where they belong. Lines of ours that are there are taken out first, so that the
# second run prints what the first one printed.
composed() { # FILE
	awk -v options="$(lockout_options)" -v expiry="$(no_expiry_option)" -v remember="$password_history" -v rounds="$password_hash_rounds" '
		function without(line, pattern,    words, n, i, kept) {
			# Taken word by word, so that what stays keeps its blanks.
			kept = line
			n = split(line, words, /[ \t]+/)
			for (i = 1; i <= n; i++) if (words[i] ~ pattern) kept = remove(kept, words[i])
			sub(/[ \t]+$/, "", kept)
			return kept
		}
		function remove(line, word,    at, before, after) {
			at = index(line " ", " " word " "); if (!at) at = index(line "\t", "\t" word "\t")
			if (!at) at = index(line, word) - 1
			before = substr(line, 1, at - 1); after = substr(line, at + 1 + length(word))
			return before after
		}
		{
			sub(/\r$/, "")
			if (held != "") { $0 = held " " $0; held = "" }
			if ($0 ~ /\\$/) { held = $0; sub(/[ \t]*\\$/, "", held); next }
			kind = ""; control = ""; module = ""
			if ($0 ~ /^[ \t]*-?(auth|account|password|session)[ \t]/) {
				text = $0; sub(/^[ \t]*-?/, "", text)
				kind = text; sub(/[ \t].*/, "", kind); sub(/^[a-z]+[ \t]+/, "", text)
				if (text ~ /^\[/) { control = substr(text, 1, index(text, "]")); text = substr(text, index(text, "]") + 1) }
				else { control = text; sub(/[ \t].*/, "", control); sub(/^[^ \t]+/, "", text) }
				sub(/^[ \t]+/, "", text); module = text; sub(/[ \t].*/, "", module); sub(/^.*\//, "", module)
			}
			if (module ~ /^pam_(faillock|tally|tally2|pwhistory|cracklib)\.so$/) next
			if (kind == "auth" && module == "pam_unix.so") $0 = without($0, "^nullok(_secure)?$")
			if (kind == "account" && module == "pam_unix.so") $0 = without($0, "^no_pass_expiry$") expiry
			if (kind == "password" && module == "pam_pwquality.so") {
				$0 = without($0, "^(minlen|minclass|[dulo]credit|maxrepeat|maxsequence|maxclassrepeat|difok|dictcheck|enforcing)=|^enforce_for_root$") " enforce_for_root"
				if (control !~ /^(required|requisite)$/) { at = index($0, control); $0 = substr($0, 1, at - 1) "requisite" substr($0, at + length(control)) }
			}
			if (kind == "password" && module == "pam_unix.so") {
				$0 = without($0, "^(nullok(_secure)?|md5|bigcrypt|sha256|sha512|blowfish|yescrypt|gost_yescrypt|rounds=.*|remember=.*|use_authtok|shadow)$")
				$0 = $0 " sha512 shadow rounds=" rounds " use_authtok"
			}
			lines[++n] = $0; kinds[n] = kind; controls[n] = control; modules[n] = module
		}
		END {
			for (i = 1; i <= n; i++) {
				if (kinds[i] == "auth") {
					if (!first_auth) first_auth = i
					if (modules[i] == "pam_unix.so" && !unix) unix = i
					if (modules[i] == "pam_env.so" && !unix) env = i
					if (modules[i] == "pam_deny.so") deny = i
					if (controls[i] ~ /=[0-9]/) jump = 1
					if (unix && i > unix && controls[i] ~ /^sufficient$|success=done/) other = 1
				}
				if (kinds[i] == "account" && !first_account) first_account = i
				if (kinds[i] == "password" && modules[i] == "pam_pwquality.so") examined = i
				if (kinds[i] == "password" && modules[i] == "pam_unix.so" && !stored) stored = i
			}
			# Right after pam_unix, unless another way in follows or a line counts how many to jump over.
			late = jump || other || controls[unix] != "sufficient"
			for (i = 1; i <= n; i++) {
				if (i == first_auth && !env) print preauth()
				if (i == deny && late) print "auth        required      pam_faillock.so authfail" options
				if (i == first_account) print "account     required      pam_faillock.so"
				if (i == stored) {
					if (!examined) print "password    requisite     pam_pwquality.so try_first_pass local_users_only retry=3 enforce_for_root"
					print "password    requisite     pam_pwhistory.so remember=" remember " use_authtok enforce_for_root"
				}
				print lines[i]
				if (i == env) print preauth()
				if (i == unix && !late) print "auth        [default=die] pam_faillock.so authfail" options
			}
		}
		function preauth() { return "auth        required      pam_faillock.so preauth" options }
	' "$1"
}

modules_of() { # FILE: print the modules that must exist for the stack to work
	awk '/^[ \t]*(auth|account|password|session)[ \t]/ { if (match($0, /[^ \t]*pam_[a-z0-9_]+\.so/)) print substr($0, RSTART, RLENGTH) }' "$1" | sort -u
}

mistake() { # FILE: say what is wrong with a stack; nothing when it can be used
	local module order
	while read -r module; do
		if [[ $module == /* && -e $module ]]; then continue; fi
		library "${module##*/}" >/dev/null || {
			printf 'there is no %s' "$module"
			return 0
		}
	done < <(modules_of "$1")
	order=$(awk '
		/^[ \t]*auth[ \t].*pam_faillock\.so preauth/ { text = text "p" }
		/^[ \t]*auth[ \t].*pam_unix\.so/ { text = text "u" }
		/^[ \t]*auth[ \t].*pam_faillock\.so authfail/ { text = text "f" }
		/^[ \t]*auth[ \t].*pam_deny\.so/ { text = text "d" }
		/^[ \t]*account[ \t]/ && !account { account = 1; text = text ($0 ~ /pam_faillock\.so/ ? "A" : "x") }
		/^[ \t]*password[ \t].*pam_pwquality\.so/ { text = text "q" }
		/^[ \t]*password[ \t].*pam_pwhistory\.so/ { text = text "h" }
		/^[ \t]*password[ \t].*pam_unix\.so/ { text = text "s" }
		END { print text }
	' "$1")
	[[ $order =~ ^pu+fdAqhs$ ]] || printf 'its lines are not in the order that counting needs (%s)' "$order"
}

sudo_works() { # root's own sudo asks the stack for account and session, never for a password
	! command -v sudo >/dev/null 2>&1 || sudo -n true </dev/null >/dev/null 2>&1
}

put_stack() { # NAME
	local link=$pam/$1 target new wrong worked=no before='' was=$isms_changes
	[[ -e $link ]] || die "there is no $link: this system has no PAM stack that could be hardened"
	if [[ -L $link ]]; then target=$pam/$1-isms; else target=$link; fi
	new=$(beside "$target")
	composed "$link" >"$new"
	chmod 0644 -- "$new"
	wrong=$(mistake "$new")
	if [[ -n $wrong ]]; then
		rm -f -- "$new"
		die "$link cannot be hardened: $wrong"
	fi
	if [[ $(real "$link") == "$target" ]] && cmp -s -- "$new" "$target"; then
		rm -f -- "$new"
		return 0
	fi
	if sudo_works; then worked=yes; fi
	if [[ -L $link ]]; then before=$(readlink -- "$link"); fi
	cp -p -- "$(real "$link")" "$new.old"
	swap password-lockout-module "$new" "$target"
	if [[ -n $before && $before != "$1-isms" ]]; then point "$link" "$1-isms"; fi
	if [[ $worked == yes ]] && ! sudo_works; then
		if [[ -n $before ]]; then point "$link" "$before"; fi
		if [[ -z $before || $before == "$1-isms" ]]; then mv -f -- "$new.old" "$target"; else rm -f -- "$new.old" "$target"; fi
		die "sudo no longer works with the new $link; the old one is back"
	fi
	rm -f -- "$new.old"
	((isms_changes > was)) || changed password-lockout-module "$link -> $1-isms"
}

point() { # LINK TARGET: in one rename
	ln -s -- "$2" "$1.isms-new"
	mv -fT -- "$1.isms-new" "$1"
}

# --- single values -----------------------------------------------------------------------------------------------

bounded() { # VALUE LOW HIGH: a whole number between the two
	[[ $1 =~ ^-?[0-9]+$ ]] && (($1 >= $2 && $1 <= $3))
}

# One line per number: RULE FILE KEY LOW HIGH VALUE. What lies between the two stays, since somebody chose it.
numbers() {
	cat <<-END
		password-max-days $login_defs PASS_MAX_DAYS 1 $password_max_days $password_max_days
		password-min-days $login_defs PASS_MIN_DAYS $password_min_days 365 $password_min_days
		password-warn-days $login_defs PASS_WARN_AGE $password_warn_days 365 $password_warn_days
		password-hash-rounds $login_defs SHA_CRYPT_MIN_ROUNDS $password_hash_rounds 999999999 $password_hash_rounds
		password-hash-rounds $login_defs SHA_CRYPT_MAX_ROUNDS $password_hash_rounds 999999999 $password_hash_rounds
		password-length $quality minlen $password_min_length 999 $password_min_length
		password-lowercase $quality lcredit -99 -1 -1
		password-uppercase $quality ucredit -99 -1 -1
		password-digits $quality dcredit -99 -1 -1
		password-specials $quality ocredit -99 -1 -1
		password-classes $quality minclass 4 4 4
		password-repeats $quality maxrepeat 1 $password_max_repeat $password_max_repeat
		password-sequences $quality maxsequence 1 $password_max_sequence $password_max_sequence
		password-difference $quality difok $password_min_difference 99 $password_min_difference
		password-dictionary $quality dictcheck 1 1 1
		password-quality-module $quality enforcing 1 1 1
	END
	reads_lockout_file || return 0
	cat <<-END
		password-lockout-attempts $lockout deny 1 $password_lockout_attempts $password_lockout_attempts
		password-lockout-time $lockout unlock_time $password_lockout_seconds 86400 $password_lockout_seconds
		password-lockout-time $lockout fail_interval 900 86400 900
		password-lockout-root $lockout root_unlock_time 60 86400 60
	END
}

knows() { # FILE KEY: the library that reads the file knows the key; one that it does not know breaks every password change
	[[ $1 != "$quality" ]] || mentions libpwquality.so.1 "$2"
}

separator() { # FILE
	if [[ $1 == "$login_defs" ]]; then printf ' '; else printf ' = '; fi
}

has_flag() { # FILE WORD: an active line that is just this word
	grep -qsE "^[[:space:]]*$2[[:space:]]*$" -- "$1"
}

apply_numbers() {
	local rule file key low high value
	while read -r rule file key low high value; do
		if ! knows "$file" "$key"; then
			note "$file cannot hold $key here"
		elif ! bounded "$(active_value "$file" "$key")" "$low" "$high" || ! is_single "$file" "$key"; then
			assign "$rule" "$file" "$key" "$value" "$(separator "$file")"
		fi
	done < <(numbers)
	if knows "$quality" enforce_for_root && ! has_flag "$quality" enforce_for_root; then
		assign password-quality-root "$quality" enforce_for_root '' ''
	fi
	if reads_lockout_file; then
		for key in even_deny_root audit silent; do
			has_flag "$lockout" "$key" || assign password-lockout-root "$lockout" "$key" '' ''
		done
	fi
	[[ $(active_value "$login_defs" ENCRYPT_METHOD) == SHA512 ]] || assign password-hash-login-defs "$login_defs" ENCRYPT_METHOD SHA512 ' '
	[[ $(active_value "$login_defs" MD5_CRYPT_ENAB) != yes ]] || assign password-hash-login-defs "$login_defs" MD5_CRYPT_ENAB no ' '
	own password-length "$quality" 0644 root root
}

is_single() { # FILE KEY: one active line only, since readers differ in which of several counts
	[[ -e $1 && $(grep -cE "^[[:space:]]*$2([[:space:]=]|$)" -- "$1") == 1 ]]
}

apply_ageing() {
	local line was=$isms_changes
	place password-ageing-timer "$isms_files/password/$unit.sh" "$ageing" 0755
	place password-ageing-timer "$isms_files/password/$unit.service" "/etc/systemd/system/$unit.service" 0644
	place password-ageing-timer "$isms_files/password/$unit.timer" "/etc/systemd/system/$unit.timer" 0644
	if ((isms_changes > was)) && is_booted; then systemctl daemon-reload; fi
	enable_unit password-ageing-timer "$unit.timer"
	start_unit password-ageing-timer "$unit.timer"
	while read -r line; do
		changed "${line%% *}" "${line#* }"
	done < <("$ageing")
}

apply() {
	local name
	apply_numbers
	for name in "${stacks[@]}"; do
		put_stack "$name"
	done
	apply_ageing
}

# --- checks ------------------------------------------------------------------------------------------------------

check_stack() { # NAME: the rules whose settings stand in the stacks, each judged by the one line that it is about
	local file=$pam/$1 text wanted rule pattern
	wanted=$(composed "$file")
	text=$(cat -- "$file")
	while read -r rule pattern; do
		verdict "$rule" "$1: $(grep -E -- "$pattern" <<<"$wanted" || :)" "$1: $(grep -E -- "$pattern" <<<"$text" || :)"
	done <<-'END'
		password-lockout-module pam_faillock\.so
		password-nullok ^[[:space:]]*auth.*pam_unix\.so
		password-quality-module ^[[:space:]]*password.*pam_pwquality\.so
		password-history ^[[:space:]]*password.*pam_pwhistory\.so
		password-hash-pam ^[[:space:]]*password.*pam_unix\.so
	END
	verdict password-lockout-module '' "$(mistake "$file")"
}

check() {
	local rule file key low high value name
	while read -r rule file key low high _; do
		knows "$file" "$key" || continue
		value=$(active_value "$file" "$key")
		if bounded "$value" "$low" "$high"; then pass "$rule"; else fail "$rule" "$key between $low and $high" "${value:-unset}"; fi
	done < <(numbers)
	for name in "${stacks[@]}"; do
		check_stack "$name"
	done
	if reads_lockout_file; then
		if has_flag "$lockout" even_deny_root; then pass password-lockout-root; else fail password-lockout-root even_deny_root unset; fi
	fi
	verdict password-hash-login-defs SHA512 "$(active_value "$login_defs" ENCRYPT_METHOD)"
	verdict password-hash-accounts '' "$(awk -F: '$2 ~ /^[^!*]/ && $2 !~ /^\$(5|6|7|y|gy)\$/ { printf "%s ", $1 }' /etc/shadow)"
	verdict password-ageing-timer enabled "$(systemctl is-enabled -- "$unit.timer" 2>/dev/null || :)"
	value=$([[ ! -x $ageing ]] || "$ageing" --check || :)
	for rule in password-ageing password-key-only-accounts; do
		verdict "$rule" '' "$(grep "^$rule " <<<"$value" || :)"
	done
}

isms_main "$@"
