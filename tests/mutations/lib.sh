#!/usr/bin/env bash
# What the mutations share. Each word fails when it changes nothing, so that a mutation that does not apply is told.

altered() { # FILE SED…: edit a file through sed; it must be another one afterwards
	local file=$1 before
	shift
	before=$(cksum <"$file")
	sed -i -E "$@" "$file"
	[[ $(cksum <"$file") != "$before" ]] || {
		echo "nothing to change in $file by: $*" >&2
		return 1
	}
}

comment() { # FILE REGEX…: comment out the lines that begin with one of these
	local file=$1 regex
	shift
	for regex in "$@"; do altered "$file" "s~^([[:blank:]]*)($regex)~\\1#\\2~" || return; done
}

remove() { # FILE REGEX…: take away the lines that match
	local file=$1 regex
	shift
	for regex in "$@"; do altered "$file" "\\~$regex~d" || return; done
}

replace() { # FILE REGEX TEXT: put TEXT in place of what matches
	altered "$1" "s~$2~$3~"
}

prepend() { # FILE TEXT: a first line
	local text
	text=$(cat "$1") && printf '%s\n%s\n' "$2" "$text" >"$1"
}

append() { # FILE TEXT: a last line
	printf '%s\n' "$2" >>"$1"
}

sshd_file() { # the file that holds the hardened settings of sshd
	if [[ -e /etc/ssh/sshd_config.d/00-isms-hardening.conf ]]; then
		echo /etc/ssh/sshd_config.d/00-isms-hardening.conf
	else
		echo /etc/ssh/sshd_config
	fi
}

sshd_option() { # KEYWORD VALUE: change the line that hardening wrote
	altered "$(sshd_file)" "s~^$1[[:blank:]].*~$1 $2~"
}

unit_file() { # NAME TEXT: a unit as a package would bring it, known to systemd
	printf '%s\n' "$2" >"/usr/lib/systemd/system/$1"
	systemctl daemon-reload
}

package() { # NAME: enter a package in the rpm database
	rpm -i --justdb --nodeps "/run/isms-mutations/packages/$1.rpm"
}
