#!/usr/bin/env bash
# Which services run, start at boot, or wait behind a socket.
# Rules: services-* of rules/services.yaml. Parameters: services_kept, services_listening_ports.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

resolved_file=/etc/systemd/resolved.conf.d/zz-isms.conf

# RULE UNIT…: off, that is neither running nor able to start. A socket stands beside its service, since it would start it.
units='services-cups cups.socket cups.path cups.service cups-browsed.service
services-bluetooth bluetooth.service
services-avahi avahi-daemon.socket avahi-daemon.service
services-rpcbind rpcbind.socket rpcbind.service
services-nfs-server nfs-server.service nfs-mountd.service rpc-statd.service
services-autofs autofs.service
services-telnet telnet.socket
services-remote-shell rsh.socket rlogin.socket rexec.socket
services-tftp tftp.socket tftp.service
services-nis ypserv.service ypbind.service yppasswdd.service ypxfrd.service
services-xinetd xinetd.service
services-talk talk.socket ntalk.socket talk.service ntalk.service
services-finger finger.socket
services-ftp vsftpd.service proftpd.service pure-ftpd.service
services-snmp snmpd.service snmptrapd.service
services-dns named.service named-chroot.service
services-dnsmasq dnsmasq.service
services-dhcp-server dhcpd.service dhcpd6.service
services-samba smb.service nmb.service
services-web httpd.socket httpd.service nginx.service
services-proxy squid.service
services-mail-access dovecot.socket dovecot.service cyrus-imapd.service
services-mail-transfer sendmail.service exim.service
services-rsync rsyncd.socket rsyncd.service
services-ldap-server slapd.service'

is_kept() { # UNIT
	[[ " ${services_kept//,/ } " == *" $1 "* ]]
}

declare -A unit_file=() running=() state=()

load_units() { # find the unit files and, where systemd runs, what it says of the units: one question for all
	local folder rule names unit key value
	local -a all=()
	while read -r rule names; do
		for unit in $names; do
			all+=("$unit")
			for folder in /lib /usr/lib /usr/local/lib /run /etc; do
				[[ -e $folder/systemd/system/$unit || -L $folder/systemd/system/$unit ]] && unit_file[$unit]=$folder/systemd/system/$unit
			done
		done
	done <<<"$units"
	is_booted || return 0
	set -- "${all[@]}"
	while IFS='=' read -r key value; do
		case $key in
		LoadState) [[ $value == not-found || -n ${unit_file[$1]:-} ]] || unit_file[$1]=generated ;;
		ActiveState) case $value in active | activating | reloading | deactivating) running[$1]=$value ;; esac ;;
		UnitFileState) state[$1]=$value ;;
		'') shift ;;
		esac
	done <<<"$(systemctl show -p LoadState -p ActiveState -p UnitFileState -- "${all[@]}")"
}

is_masked() { # UNIT
	[[ $(readlink -- "/etc/systemd/system/$1" || :) == /dev/null ]]
}

is_off() { # UNIT: not there, or not running and unable to start
	[[ -n ${unit_file[$1]:-} ]] || return 0
	[[ -z ${running[$1]:-} ]] || return 1
	case ${state[$1]:-} in masked | disabled) return 0 ;; esac
	is_masked "$1"
}

switch_off() {
	local rule names unit
	local -a stop=() mask=()
	while read -r rule names; do
		for unit in $names; do
			[[ -n ${unit_file[$unit]:-} ]] || continue
			is_kept "$unit" && continue
			[[ -n ${running[$unit]:-} ]] && stop+=("$unit")
			is_masked "$unit" || mask+=("$unit")
			if [[ -n ${running[$unit]:-} ]] || ! is_masked "$unit"; then changed "$rule" "$unit off"; fi
		done
	done <<<"$units"
	if ((${#stop[@]})); then systemctl stop -- "${stop[@]}" || die "cannot stop ${stop[*]}"; fi
	((${#mask[@]})) || return 0
	# Their links go, aliases such as dbus-org.bluez.service included; then the name leads nowhere, whoever asks for it.
	systemctl -q disable -- "${mask[@]}" 2>/dev/null || :
	for unit in "${mask[@]}"; do
		# A unit written by hand stands where the mask goes.
		[[ ! -f /etc/systemd/system/$unit || -L /etc/systemd/system/$unit ]] || mv -f -- "/etc/systemd/system/$unit" "/etc/systemd/system/$unit.isms-off"
		[[ ! -L /etc/systemd/system/$unit ]] || rm -f -- "/etc/systemd/system/$unit"
	done
	systemctl -q mask -- "${mask[@]}" || die "cannot mask ${mask[*]}"
}

mail_interfaces() { # print where postfix listens; nothing without postfix
	[[ -f /etc/postfix/main.cf ]] || return 0
	if command -v postconf >/dev/null; then postconf -h inet_interfaces; else active_value /etc/postfix/main.cf inet_interfaces; fi
}

restrict_mail() {
	[[ -f /etc/postfix/main.cf ]] || return 0
	case $(mail_interfaces) in loopback-only | localhost | 127.0.0.1) return 0 ;; esac
	if command -v postconf >/dev/null; then
		postconf -e 'inet_interfaces = loopback-only'
		changed services-mail-transfer "postfix listens on the loopback interface only"
	else
		assign services-mail-transfer /etc/postfix/main.cf inet_interfaces loopback-only
	fi
	# A reload does not close a port.
	if is_booted && has_unit postfix.service; then systemctl -q try-restart postfix.service; fi
}

mail_commands() { # print the commands that manage mail queues
	local file
	for file in /usr/sbin/postsuper /usr/sbin/exiqgrep; do
		[[ ! -e $file ]] || printf '%s\n' "$file"
	done
}

mail_vrfy() { # print whether postfix refuses VRFY; nothing without postfix
	[[ -f /etc/postfix/main.cf ]] || return 0
	local value
	if command -v postconf >/dev/null; then value=$(postconf -h disable_vrfy_command); else value=$(active_value /etc/postfix/main.cf disable_vrfy_command); fi
	printf '%s' "${value:-no}"
}

restrict_mail_users() {
	local file
	for file in $(mail_commands); do
		tighten services-mail-commands "$file" 7776
	done
	case $(mail_vrfy) in '' | yes) return 0 ;; esac
	if command -v postconf >/dev/null; then
		postconf -e 'disable_vrfy_command = yes'
		changed services-mail-vrfy "postfix refuses VRFY"
	else
		assign services-mail-vrfy /etc/postfix/main.cf disable_vrfy_command yes
	fi
	if is_booted && has_unit postfix.service; then systemctl -q try-reload-or-restart postfix.service; fi
}

resolver_value() { # KEY: the last one of all drop-ins
	local file value=absent found
	for file in "${resolved_file%.d/*}" "${resolved_file%/*}"/*.conf; do
		found=$(active_value "$file" "$1")
		[[ -z $found ]] || value=$found
	done
	printf '%s' "$value"
}

apply() {
	local before
	load_units
	switch_off
	restrict_mail
	restrict_mail_users
	before=$isms_changes
	place services-name-multicast "$isms_files/services/resolved.conf" "$resolved_file" 0644
	if ((isms_changes > before)) && is_booted && has_unit systemd-resolved.service; then systemctl -q try-restart systemd-resolved.service; fi
	if [[ $(resolver_value LLMNR) != no || $(resolver_value MulticastDNS) != no ]]; then
		note "a file after $resolved_file in its folder allows LLMNR or mDNS"
	fi
	if [[ $(systemctl get-default) == graphical.target ]]; then
		systemctl -q set-default multi-user.target
		changed services-default-target multi-user.target
	fi
}

check() {
	local rule names unit bad interfaces
	load_units
	interfaces=$(mail_interfaces)
	while read -r rule names; do
		bad=
		for unit in $names; do
			is_kept "$unit" || is_off "$unit" || bad+=" $unit"
		done
		if [[ $rule == services-mail-transfer && -f /etc/postfix/main.cf && ! $interfaces =~ ^(loopback-only|localhost|127\.0\.0\.1)$ ]]; then
			bad+=" postfix on ${interfaces:-all}"
		fi
		verdict "$rule" "" "$bad"
	done <<<"$units"
	bad=
	for unit in $(mail_commands); do
		((0$(stat -L -c %a -- "$unit") & 1)) && bad+=" $unit"
	done
	verdict services-mail-commands "" "$bad"
	case $(mail_vrfy) in '' | yes) pass services-mail-vrfy ;; *) fail services-mail-vrfy yes "$(mail_vrfy)" ;; esac
	verdict services-name-multicast "no no" "$(resolver_value LLMNR) $(resolver_value MulticastDNS)"
	if [[ $(systemctl get-default) == graphical.target ]]; then
		fail services-default-target multi-user.target graphical.target
	else
		pass services-default-target
	fi
}

isms_main "$@"
