#!/usr/bin/env bash
# Who may log in over SSH, how, and with which algorithms. Rules: every ssh-… rule.
#
# sshd keeps the first value it meets for a keyword. Where this sshd reads drop-ins, our lines go to the first one and the
# main file must include it before anything else; elsewhere they go to the head of the main file. What else stands there for
# the same keywords goes, since nobody should read one value and get another. Nothing is put in place before `sshd -t` took it.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

main=/etc/ssh/sshd_config
folder=/etc/ssh/sshd_config.d
dropin=$folder/00-isms-hardening.conf
cloud=/etc/cloud/cloud.cfg.d
begin='# isms-hardening: begin'
end='# isms-hardening: end'

# Keywords that decide who gets in: not even a Match block may say otherwise.
decisive='permitrootlogin passwordauthentication kbdinteractiveauthentication challengeresponseauthentication permitemptypasswords'

scratch=
tidy() { [[ -z $scratch ]] || rm -rf -- "$scratch"; }
trap tidy EXIT

# sshd judges a file only when it has a host key; before the first boot there is none, so it gets one that never stays.
key_options=()
lend_key() {
	local key found=
	command -v sshd >/dev/null 2>&1 || die "there is no sshd: install openssh-server"
	scratch=$(mktemp -d)
	for key in /etc/ssh/ssh_host_*_key; do
		if [[ -s $key ]]; then found=yes; fi
	done
	if [[ -z $found ]]; then
		ssh-keygen -q -t ecdsa -N '' -f "$scratch/key" || die "ssh-keygen made no key"
		key_options=(-h "$scratch/key")
	fi
	accepts '' || die "sshd does not take even an empty configuration: $(sshd_on -t -f "$scratch/probe" 2>&1 | head -n 1)"
}

sshd_on() { # ARGUMENTS…: sshd with a host key
	sshd "$@" ${key_options[@]+"${key_options[@]}"}
}

accepts() { # LINE: whether this sshd knows the line
	printf '%s\n' "$1" >"$scratch/probe"
	sshd_on -t -f "$scratch/probe" >/dev/null 2>&1
}

reads_dropins() {
	[[ -d $folder ]] && accepts 'Include /etc/ssh/no-such-folder/*.conf'
}

known() { # KEYWORD LIST: the names of the list that this sshd knows, joined by commas
	local keyword=$1 list name kept=
	list=$(commas "$2")
	if accepts "$keyword $list"; then
		printf '%s' "$list"
		return 0
	fi
	for name in ${list//,/ }; do
		if accepts "$keyword $name"; then kept=$kept,$name; fi
	done
	[[ -n $kept ]] || die "sshd knows none of $keyword $list"
	printf '%s' "${kept#,}"
}

commas() { # LIST: words between commas or blanks, joined by one comma
	local words
	read -r -a words <<<"${1//,/ }"
	local IFS=,
	printf '%s' "${words[*]}"
}

# One line per setting: RULE KEYWORD VALUE.
settings() {
	local ciphers macs methods
	ciphers=$(known Ciphers "$ssh_ciphers")
	macs=$(known MACs "$ssh_macs")
	methods=$(known KexAlgorithms "$ssh_kex_algorithms")
	cat <<-END
		ssh-root-login PermitRootLogin no
		ssh-password-authentication PasswordAuthentication no
		ssh-keyboard-interactive KbdInteractiveAuthentication no
		ssh-keyboard-interactive ChallengeResponseAuthentication no
		ssh-empty-passwords PermitEmptyPasswords no
		ssh-public-key-authentication PubkeyAuthentication yes
		ssh-max-auth-tries MaxAuthTries $ssh_max_auth_tries
		ssh-login-grace-time LoginGraceTime $ssh_login_grace_time
		ssh-max-sessions MaxSessions $ssh_max_sessions
		ssh-max-startups MaxStartups $ssh_max_startups
		ssh-client-alive ClientAliveInterval $ssh_client_alive_interval
		ssh-client-alive ClientAliveCountMax $ssh_client_alive_count_max
		ssh-x11-forwarding X11Forwarding no
		ssh-agent-forwarding AllowAgentForwarding no
		ssh-tcp-forwarding AllowTcpForwarding $ssh_tcp_forwarding
		ssh-stream-local-forwarding AllowStreamLocalForwarding $ssh_tcp_forwarding
		ssh-gateway-ports GatewayPorts no
		ssh-tunnel PermitTunnel no
		ssh-hostbased-authentication HostbasedAuthentication no
		ssh-ignore-rhosts IgnoreRhosts yes
		ssh-user-environment PermitUserEnvironment no
		ssh-gssapi-authentication GSSAPIAuthentication no
		ssh-strict-modes StrictModes yes
		ssh-pam UsePAM yes
		ssh-log-level LogLevel $ssh_log_level
		ssh-banner Banner /etc/issue.net
		ssh-ciphers Ciphers $ciphers
		ssh-macs MACs $macs
		ssh-kex-algorithms KexAlgorithms $methods
		ssh-allow-groups AllowGroups $(commas "$ssh_allow_groups" | tr , ' ')
	END
}

block() { # print the settings as sshd reads them
	printf '%s\n' "$begin" '# Written by the hardening; change the parameters, not this text.'
	awk '{ $1 = ""; print substr($0, 2) }' "$scratch/settings"
	printf '%s\n' "$end"
}

# Print a file without our block and without the lines that a setting of ours makes void: outside of Match blocks every
# keyword that we set, inside of them the decisive ones.
cleared() { # FILE
	ISMS_BEGIN=$begin ISMS_END=$end ISMS_DECISIVE=$decisive awk '
		BEGIN {
			split(ENVIRON["ISMS_DECISIVE"], words, " "); for (i in words) decisive[words[i]] = 1
			begin = ENVIRON["ISMS_BEGIN"]; end = ENVIRON["ISMS_END"]
		}
		NR == FNR { ours[tolower($2)] = 1; next }
		{ sub(/\r$/, "") }
		$0 == begin { inside = 1; next }
		$0 == end { inside = 0; next }
		inside { next }
		{
			word = $0; sub(/^[ \t]+/, "", word); sub(/[ \t="].*$/, "", word); word = tolower(word)
			if (word == "match") match_block = 1
			if (match_block ? word in decisive : word in ours) next
			print
		}
	' "$scratch/settings" "$1"
}

effective() { # USER: what sshd would do for a log-in of USER; nothing when it takes no configuration at all
	sshd_on -T -C "user=$1,host=client.example,addr=10.0.0.1,laddr=10.0.0.2,lport=22" 2>/dev/null || :
}

value_of() { # KEYWORD: from `sshd -T` on standard input; a keyword that comes several times is joined by blanks
	awk -v key="$(tr '[:upper:]' '[:lower:]' <<<"$1")" '
		$1 == key { sub(/^[^ ]+ ?/, ""); if (!seen[$0]++) value = value (value == "" ? "" : " ") $0 }
		END { print value }
	'
}

tell_changes() { # BEFORE AFTER: name the rules whose effective value changed; the file itself when none did
	local rule keyword value old new told=
	while read -r rule keyword value; do
		old=$(value_of "$keyword" <<<"$1")
		new=$(value_of "$keyword" <<<"$2")
		if [[ $old != "$new" ]]; then
			changed "$rule" "$keyword ${old:-(unset)} -> $new"
			told=yes
		fi
	done <"$scratch/settings"
	[[ -n $told ]] || changed ssh-match-exceptions "sshd's configuration written anew, effective values as before"
}

install_file() { # NEW PATH: put a file that sshd took in place, 0600, keeping owner and label; true when it differs
	local new=$1 path=$2
	if [[ -e $path ]] && cmp -s -- "$new" "$path"; then
		rm -f -- "$new"
		return 1
	fi
	sshd_on -t -f "$new" >"$scratch/said" 2>&1 || {
		rm -f -- "$new"
		die "sshd refuses what $path would become: $(head -n 1 "$scratch/said")"
	}
	if [[ -e $path ]]; then
		chown --reference="$path" -- "$new"
		if command -v chcon >/dev/null 2>&1; then chcon --reference="$path" -- "$new" 2>/dev/null || :; fi
	fi
	chmod 0600 -- "$new"
	mv -f -- "$new" "$path"
}

includes_first() { # FILE: whether the drop-ins are included before every other directive
	awk -v all="$folder/*.conf" -v one="$dropin" '
		{ sub(/\r$/, "") }
		/^[ \t]*(#|$)/ { next }
		{
			sub(/^[ \t]+/, ""); gsub(/["=]/, " ")
			for (i = 2; i <= NF; i++) if ($i == all || $i == "sshd_config.d/*.conf" || $i == one) found = tolower($1) == "include"
			exit
		}
		END { exit !found }
	' "$1"
}

write_main_only() { # the layout of sshd 7.4: our block before everything else
	local target new
	target=$(real "$main")
	new=$(beside "$target")
	{
		block
		printf '\n'
		if [[ -e $target ]]; then cleared "$target" | sed '/./,$!d'; else subsystem; fi
	} >"$new"
	install_file "$new" "$target"
}

subsystem() { # what a missing main file leaves open
	[[ -x /usr/libexec/openssh/sftp-server ]] && printf '%s\n' 'SyslogFacility AUTHPRIV' 'Subsystem sftp /usr/libexec/openssh/sftp-server'
	return 0
}

write_dropin() { # the layout with drop-ins; true when a file changed
	local target new file did=1
	new=$(beside "$dropin")
	block >"$new"
	if install_file "$new" "$dropin"; then did=0; fi
	for file in "$folder"/*.conf; do
		[[ $file != "$dropin" && -f $file ]] || continue
		target=$(real "$file")
		[[ $target == "$folder"/* ]] || continue
		new=$(beside "$target")
		cleared_dropin "$file" "$target" >"$new"
		if install_file "$new" "$target"; then did=0; fi
	done
	target=$(real "$main")
	new=$(beside "$target")
	{
		# Only our own file: the pattern would also switch on what the vendor wrote and nobody reads today.
		if [[ ! -e $target ]] || ! includes_first "$target"; then printf 'Include %s\n' "$dropin"; fi
		if [[ -e $target ]]; then with_password_line "$target"; else
			subsystem
			printf 'PasswordAuthentication no\n'
		fi
	} >"$new"
	if install_file "$new" "$target"; then did=0; fi
	return "$did"
}

# A drop-in that is read before ours must not set what we set; a later one loses anyway and stays as it is, except for
# AllowGroups, which adds up, and for what it says in Match blocks.
cleared_dropin() { # NAME FILE
	if [[ $1 < $dropin ]]; then
		cleared "$2"
	else
		sed '/^ssh-allow-groups /!d' "$scratch/settings" >"$scratch/cumulative"
		mv "$scratch/settings" "$scratch/all"
		mv "$scratch/cumulative" "$scratch/settings"
		cleared "$2"
		mv "$scratch/all" "$scratch/settings"
	fi
}

# The main file without what we set, and with the one line that cloud-init looks for, before the first Match. The drop-ins
# cannot be included inside a Match block: what we write there is not allowed in one.
with_password_line() { # FILE
	cleared "$1" | awk -v all="$folder/*.conf" '
		{ word = tolower($1) }
		word == "include" && $2 == all && done { next }
		word == "match" && !done { print "PasswordAuthentication no"; done = 1 }
		{ print }
		END { if (!done) print "PasswordAuthentication no" }
	'
}

apply_config() {
	local before after did=
	before=$(effective ec2-user)
	if value_of AuthenticationMethods <<<"$before" | grep -qE 'password|keyboard-interactive'; then
		die "AuthenticationMethods asks for a method that the hardening closes; nobody could log in: remove it first"
	fi
	if reads_dropins; then
		if write_dropin; then did=yes; fi
	elif write_main_only; then
		did=yes
	fi
	sshd_on -t >"$scratch/said" 2>&1 || die "sshd refuses its configuration: $(head -n 1 "$scratch/said")"
	if [[ -n $did ]]; then
		after=$(effective ec2-user)
		tell_changes "$before" "$after"
		reload
	fi
}

reload() { # a daemon that runs takes the new text; one without a host key would end instead
	is_booted && systemctl -q is-active -- sshd.service || return 0
	if ((${#key_options[@]})); then
		note "sshd keeps its configuration until it starts anew: there is no host key yet"
	else
		systemctl reload -- sshd.service || die "sshd does not reload: systemctl status sshd"
	fi
}

apply_modes() {
	local path
	own ssh-config-mode "$main" 0600 root root
	if [[ -d $folder ]]; then
		tighten ssh-dropin-mode "$folder" 0755 root root
		for path in "$folder"/*; do
			tighten ssh-dropin-mode "$path" 0600 root root
		done
	fi
	for path in /etc/ssh/ssh_host_*_key; do
		tighten ssh-private-host-key-mode "$path" "$(private_key_mode "$path")"
		[[ ! -e $path || $(stat -L -c %U -- "$path") == root ]] || own ssh-private-host-key-mode "$path" 0600 root root
	done
	for path in /etc/ssh/ssh_host_*_key.pub; do
		tighten ssh-public-host-key-mode "$path" 0644 root root
	done
}

private_key_mode() { # FILE: 0640 for the group that RHEL's ssh-keysign runs as, else 0600
	if [[ -e $1 && $(stat -L -c %G -- "$1") == ssh_keys ]]; then printf 0640; else printf 0600; fi
}

apply_cloud_init() {
	local file new
	[[ -d /etc/cloud ]] || {
		note "no cloud-init here: nothing changes sshd at the first boot"
		return 0
	}
	place ssh-cloud-init-passwords "$isms_files/ssh/cloud-init.cfg" "$cloud/99-isms-ssh.cfg" 0644
	for file in "$cloud"/*.cfg; do
		[[ -f $file && $file > $cloud/99-isms-ssh.cfg ]] || continue
		new=$(beside "$file")
		sed -E '/^(ssh_pwauth|disable_root|ssh_deletekeys)[ \t]*:/d' "$file" >"$new"
		swap ssh-cloud-init-passwords "$new" "$file"
	done
}

apply() {
	lend_key
	settings >"$scratch/settings"
	apply_config
	apply_modes
	apply_cloud_init
	enable_unit ssh-service sshd.service
}

check() {
	local now rule keyword value file path
	lend_key
	settings >"$scratch/settings"
	now=$(effective ec2-user)
	[[ -n $now ]] || die "sshd refuses its configuration: $(sshd_on -t 2>&1 | head -n 1)"
	while read -r rule keyword value; do
		case $keyword in
		# An alias in new releases; a build without Kerberos has no GSSAPI.
		ChallengeResponseAuthentication | GSSAPIAuthentication)
			[[ -n $(value_of "$keyword" <<<"$now") ]] || continue
			;;
		esac
		verdict "$rule" "$keyword $value" "$keyword $(value_of "$keyword" <<<"$now")"
	done <"$scratch/settings"
	check_match_blocks
	verdict ssh-main-password-line no "$(global_password_line)"
	verdict ssh-config-mode '600 root root' "$(stat -L -c '%a %U %G' -- "$main")"
	for path in "$folder"/*.conf; do
		[[ -e $path ]] || continue
		within ssh-dropin-mode "$path" 0600
	done
	for path in /etc/ssh/ssh_host_*_key; do
		[[ -e $path ]] || continue
		within ssh-private-host-key-mode "$path" "$(private_key_mode "$path")"
	done
	for path in /etc/ssh/ssh_host_*_key.pub; do
		[[ -e $path ]] || continue
		within ssh-public-host-key-mode "$path" 0644
	done
	verdict ssh-service enabled "$(systemctl is-enabled -- sshd.service 2>/dev/null || :)"
	if [[ -d /etc/cloud ]]; then
		file=$cloud/99-isms-ssh.cfg
		verdict ssh-cloud-init-passwords false "$(cloud_value "$file" ssh_pwauth)"
		verdict ssh-cloud-init-root true "$(cloud_value "$file" disable_root)"
		verdict ssh-cloud-init-host-keys true "$(cloud_value "$file" ssh_deletekeys)"
	fi
}

check_match_blocks() {
	local file found=
	for file in "$main" "$folder"/*.conf; do
		[[ -f $file ]] || continue
		if [[ $(cleared "$file" | wc -l) -ne $(lines_if_match_blocks_stay "$file") ]]; then found=$found$file; fi
	done
	verdict ssh-match-exceptions '' "$found"
}

lines_if_match_blocks_stay() { # FILE: how many lines `cleared` prints when nothing in Match blocks goes
	(
		decisive=
		cleared "$1" | wc -l
	)
}

global_password_line() {
	[[ -e $main ]] || return 0
	awk '
		{ sub(/\r$/, ""); gsub(/["=]/, " ") }
		tolower($1) == "match" { exit }
		tolower($1) == "passwordauthentication" { print tolower($2); exit }
	' "$main"
}

cloud_value() { # FILE KEY
	[[ -r $1 ]] || return 0
	sed -n -E "s/^$2:[ \t]*([a-z]+).*/\1/p" "$1" | tail -n 1
}

within() { # RULE PATH MODE: root's, and no permission bit beyond MODE
	local now
	now=$(stat -L -c '%a' -- "$2")
	if ((8#$now & ~8#$3)) || [[ $(stat -L -c %U -- "$2") != root ]]; then
		fail "$1" "root $3 or less" "$2 $(stat -L -c '%U %a' -- "$2")"
	else
		pass "$1"
	fi
}

isms_main "$@"
