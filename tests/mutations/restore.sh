#!/usr/bin/env bash
# Keeps what a machine's files are, and puts back whatever has changed since. Runs on the machine, with what every system has.
# Usage: restore.sh keep | restore
set -u
work=/run/isms-mutations
copied=(/etc /root /home /boot /opt /srv /usr/lib/systemd /usr/lib/sysctl.d /usr/lib/modprobe.d /usr/lib/motd.d /usr/share/pki /usr/libexec/isms-hardening /var)

walk() { # TEST…: what mutations may touch; not what is the kernel's or the package manager's cache
	find / /tmp /dev -xdev \( -path /proc -o -path /sys -o -path /run -o -path /var/cache/dnf -o -path /var/cache/yum -o -path /var/lib/dnf \
		-o -path /var/lib/yum -o -path /var/log/journal -o -path /dev/pts -o -path /dev/shm -o -path '/tmp/systemd-private-*' \) -prune -o "$@"
}

keep() {
	local path
	rm -rf "$work/copy"
	mkdir -p "$work/copy"
	for path in "${copied[@]}" /etc/hosts /etc/hostname /etc/resolv.conf; do
		[[ ! -e $path ]] || cp -ax --parents "$path" "$work/copy/" || return
	done
	walk -printf '%y %m %U %G %s %T@\t%p\n' >"$work/facts"
	touch "$work/stamp"
	sleep 0.02
}

put_back() { # FACTS PATH: as it was; content, target, mode, owner, time
	local kind mode user group size copy=$work/copy$2 now
	read -r kind mode user group size _ <<<"$1"
	now=$(stat -c '%F|%a|%u|%g|%s|%.10Y' -- "$2" 2>/dev/null || :)
	case $kind$now in
	fregular*\|* | dd*\|* | ls*\|* | [pscb]*\|*) ;;
	*)
		rm -rf -- "$2"
		now=
		;;
	esac
	if [[ -z $now ]]; then
		if [[ -e $copy || -L $copy ]]; then cp -a -- "$copy" "$2"; else echo "$2 is gone and was not kept" >&2; fi
		return
	fi
	if [[ $kind == l ]]; then
		[[ $(readlink -- "$2") == "$(readlink -- "$copy")" ]] || { rm -f -- "$2" && cp -a -- "$copy" "$2"; }
		return
	fi
	if [[ $kind == f && $2 != /var/log/* ]]; then
		if [[ ! -e $copy ]]; then
			[[ $now == *"|$size|"* ]] || echo "the content of $2 was not kept" >&2
		elif ! cmp -s -- "$copy" "$2"; then
			cat -- "$copy" >"$2"
		fi
	fi
	chown -h "$user:$group" -- "$2"
	chmod "$mode" -- "$2"
	[[ ! -e $copy || $kind != f || $2 == /var/log/* ]] || touch -r "$copy" -- "$2"
}

restore() {
	local facts path kind
	walk -cnewer "$work/stamp" -print >"$work/changed"
	# What is new; then what has changed or is gone, folders before what is in them.
	awk -F'\t' 'NR == FNR { known[$2]; next } !($0 in known)' "$work/facts" "$work/changed" >"$work/new"
	awk -F'\t' 'NR == FNR { changed[$0]; next } { folder = $2; sub(/\/[^\/]*$/, "", folder); if (folder == "") folder = "/" }
		$2 in changed { print "c" $0; next } folder in changed { print "n" $0 }' "$work/changed" "$work/facts" >"$work/known"
	while IFS= read -r path; do rm -rf -- "$path"; done <"$work/new"
	while IFS=$'\t' read -r facts path; do
		kind=${facts:0:1}
		if [[ $kind == c || ! (-e $path || -L $path) ]]; then put_back "${facts:1}" "$path"; fi
	done <"$work/known"
	if grep -qE '^/(etc|usr/lib)/systemd/|^/etc/(fstab|init\.d/)' "$work/changed"; then systemctl daemon-reload; fi
	if grep -q '^/etc/ssh/' "$work/changed"; then systemctl reload sshd.service; fi
	touch "$work/stamp"
	sleep 0.02
}

"$1"
