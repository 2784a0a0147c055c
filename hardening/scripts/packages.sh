#!/usr/bin/env bash
# Which packages have no place on a server.
# Rules: packages-* of rules/packages.yaml. Parameters: packages_removed.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# RULE PACKAGE…
groups='packages-telnet-client telnet
packages-telnet-server telnet-server
packages-remote-shell rsh rsh-server
packages-nis ypbind ypserv yp-tools
packages-tftp tftp tftp-server
packages-talk talk talk-server
packages-finger finger finger-server
packages-xinetd xinetd
packages-ftp-server vsftpd proftpd
packages-ftp-client ftp
packages-cups cups
packages-bluetooth bluez
packages-avahi avahi avahi-autoipd
packages-snmp net-snmp
packages-x11 xorg-x11-server-Xorg xorg-x11-server-common
packages-ldap-client openldap-clients
packages-setroubleshoot setroubleshoot setroubleshoot-server
packages-mcstrans mcstrans'

# Taking one of these away would lock people out or break the image, whatever a parameter says.
needed=' amazon-ssm-agent audit bash chrony cloud-init dnf glibc kernel openssh openssh-server pam python3 rpm sudo systemd yum '

declare -A installed=()

load_installed() { # of the packages that the parameter names, those that are here: one question for all
	local name
	local -a names=()
	for name in ${packages_removed//,/ }; do
		[[ $needed != *" $name "* ]] || die "packages_removed names $name, which the image needs"
		names+=("$name")
	done
	((${#names[@]})) || return 0
	while read -r name; do
		[[ -z $name ]] || installed[$name]=1
	done <<<"$(rpm -q --qf '%{NAME}\n' -- "${names[@]}" | grep -v ' ' || :)"
}

rule_of() { # PACKAGE: a package of the user's own belongs to no rule of ours
	local rule names
	while read -r rule names; do
		[[ " $names " == *" $1 "* ]] && break
		rule=packages
	done <<<"$groups"
	printf '%s' "$rule"
}

apply() {
	local name refusal
	load_installed
	((${#installed[@]})) || return 0
	# rpm, not yum: it takes exactly what is named, or nothing when something else needs it.
	refusal=$(rpm -e --test --allmatches -- "${!installed[@]}" 2>&1) || die "cannot be removed: $refusal (leave it out of packages_removed, or remove what needs it)"
	rpm -e --allmatches -- "${!installed[@]}" >&2 || die "rpm did not remove ${!installed[*]}"
	for name in "${!installed[@]}"; do
		changed "$(rule_of "$name")" "package $name removed"
	done
}

check() {
	local rule names name bad
	load_installed
	while read -r rule names; do
		bad=
		for name in $names; do
			[[ -z ${installed[$name]:-} ]] || bad+=" $name"
		done
		verdict "$rule" "" "$bad"
	done <<<"$groups"
	verdict packages-dependencies "" "$(rpm -Va --nofiles --noscripts --nodigest --nosignature || :)"
}

isms_main "$@"
