#!/usr/bin/env bash
# Who may read, write and run what, and which files have no business being there.
# Rules: filesystem-* of rules/filesystem.yaml. Parameters: filesystem_setuid_allowed, filesystem_setuid_removed,
# filesystem_world_writable_allowed, filesystem_tmp_noexec.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# RULE PATH MODE: exactly so, owner and group root, where the path exists.
exact='filesystem-root-home /root 0700
filesystem-passwd /etc/passwd 0644
filesystem-passwd-backup /etc/passwd- 0644
filesystem-group /etc/group 0644
filesystem-group-backup /etc/group- 0644
filesystem-shadow /etc/shadow 0000
filesystem-shadow-backup /etc/shadow- 0000
filesystem-gshadow /etc/gshadow 0000
filesystem-gshadow-backup /etc/gshadow- 0000
filesystem-hosts /etc/hosts 0644
filesystem-services /etc/services 0644
filesystem-crontab /etc/crontab 0600
filesystem-cron-hourly /etc/cron.hourly 0700
filesystem-cron-daily /etc/cron.daily 0700
filesystem-cron-weekly /etc/cron.weekly 0700
filesystem-cron-monthly /etc/cron.monthly 0700
filesystem-cron-d /etc/cron.d 0700
filesystem-cron-allow /etc/cron.allow 0600
filesystem-at-allow /etc/at.allow 0600
filesystem-tmp-sticky /tmp 1777
filesystem-tmp-sticky /var/tmp 1777'

# RULE MODE PATH…: nothing beyond the mode, owner root.
at_most='filesystem-cron-files 0600 /etc/cron.d/*
filesystem-cron-commands 0750 /usr/bin/crontab /usr/bin/at
filesystem-boot-loader 0600 /boot/grub2/grub.cfg /boot/grub2/user.cfg
filesystem-inetd 0600 /etc/inetd.conf /etc/xinetd.conf /etc/xinetd.d/*
filesystem-hosts-lpd 0600 /etc/hosts.lpd
filesystem-exports 0644 /etc/exports /etc/exports.d/*
filesystem-environment 0755 /etc/profile /etc/profile.d/* /etc/bashrc /etc/bash.bashrc /etc/environment /etc/csh.cshrc /etc/csh.login'

tmp_unit=/etc/systemd/system/tmp.mount
shm_unit=/etc/systemd/system/isms-dev-shm.service

listed() { # PATH LIST
	[[ " ${2//,/ } " == *" $1 "* ]]
}

# --- modes of known files ----------------------------------------------------------------------------------------

known_modes() { # print `RULE WANTED FACTS PATH` for every known path that exists: one stat for all
	local rule path mode patterns line
	local -a found=() rules=() modes=()
	while read -r rule path mode; do
		[[ -e $path ]] && found+=("$path") rules+=("$rule") modes+=("=$mode")
	done <<<"$exact"
	while read -r rule mode patterns; do
		for path in $patterns; do
			[[ -f $path ]] && found+=("$path") rules+=("$rule") modes+=("<$mode")
		done
	done <<<"$at_most"
	local at=0
	while read -r line; do
		printf '%s %s %s %s\n' "${rules[at]}" "${modes[at]}" "$line" "${found[at]}"
		at=$((at + 1))
	done <<<"$(stat -L -c '%a %U:%G' -- "${found[@]}")"
}

mode_is_right() { # WANTED MODE OWNER
	case $1 in
	=*) [[ $((8#$2)) == $((8#${1#=})) && $3 == root:root ]] ;;
	*) (((8#$2 & ~8#${1#<}) == 0)) && [[ ${3%:*} == root ]] ;;
	esac
}

write_modes() {
	local rule wanted mode owner path
	while read -r rule wanted mode owner path; do
		mode_is_right "$wanted" "$mode" "$owner" && continue
		if [[ $wanted == =* ]]; then own "$rule" "$path" "${wanted#=}" root root; else tighten "$rule" "$path" "${wanted#<}" root root; fi
	done <<<"$(known_modes)"
}

write_allow_files() { # only root plans jobs, unless somebody has said who else may
	local name
	for name in cron at; do
		if [[ ! -e /etc/$name.allow ]]; then
			printf 'root\n' >"$scratch"
			place "filesystem-$name-allow" "$scratch" "/etc/$name.allow" 0600
		fi
		if [[ -e /etc/$name.deny || -L /etc/$name.deny ]]; then
			rm -f -- "/etc/$name.deny"
			changed "filesystem-$name-allow" "/etc/$name.deny removed"
		fi
	done
}

spools() { # print what in the spools others could read
	local -a folders=()
	local folder
	for folder in /var/spool/cron /var/spool/at; do [[ -d $folder ]] && folders+=("$folder"); done
	((${#folders[@]})) || return 0
	# A job of at is executable for its owner: without that bit atd does not start it.
	find "${folders[@]}" \( -type f -o -path /var/spool/cron -o -path /var/spool/at \) -perm /0077 -printf '%p\n'
}

write_spools() {
	local path
	while read -r path; do
		[[ -n $path ]] || continue
		tighten filesystem-cron-spool "$path" 0700
	done <<<"$(spools)"
}

# --- one walk over the local file systems ------------------------------------------------------------------------

walk() { # `TYPE MODE USER UID GROUP GID PATH`, each ended by a NUL, of everything that a rule could object to
	local -a roots=(/)
	mapfile -t -O 1 roots < <(awk '$3 ~ /^(xfs|ext[234]|btrfs)$/ && $2 != "/" { print $2 }' /proc/mounts)
	find "${roots[@]}" -xdev -ignore_readdir_race \
		\( -path /proc -o -path /sys -o -path /run -o -path /var/lib/docker -o -path /var/lib/containerd -o -path /var/lib/containers \) -prune -o \
		! -type l \( -type f -perm /6000 -o -perm -0002 ! \( -type d -perm -1000 \) -o -nouser -o -nogroup -o \
		\( -perm /0022 -o ! -uid 0 \) \( -path '/etc/rc.d/*' -o -path '/etc/init.d/*' -o -path '/etc/systemd/*' -o -path '/usr/lib/systemd/*' \) \) \
		-printf '%y %m %u %U %g %G %p\0'
}

startup_path() { # PATH
	case $1 in /etc/rc.d/* | /etc/init.d/* | /etc/systemd/* | /usr/lib/systemd/*) return 0 ;; *) return 1 ;; esac
}

objections() { # print `RULE PATH` with a NUL for everything that the walk found
	local type mode user uid group gid path
	while IFS=' ' read -r -d '' type mode user uid group gid path; do
		if [[ $type == f ]] && ((8#$mode & 8#6000)) && ! listed "$path" "$filesystem_setuid_allowed"; then printf 'filesystem-setuid %s\0' "$path"; fi
		if ((8#$mode & 2)) && ! listed "$path" "$filesystem_world_writable_allowed"; then
			case $type in
			d) ((8#$mode & 8#1000)) || printf 'filesystem-world-writable-folders %s\0' "$path" ;;
			f) printf 'filesystem-world-writable-files %s\0' "$path" ;;
			esac
		fi
		[[ $user != "$uid" && $group != "$gid" ]] || printf 'filesystem-unowned %s\0' "$path"
		if startup_path "$path" && { ((8#$mode & 8#22)) || [[ $uid != 0 ]]; }; then printf 'filesystem-startup-files %s\0' "$path"; fi
	done < <(walk)
}

resolve_objections() {
	local rule path
	while IFS=' ' read -r -d '' rule path; do
		[[ -e $path ]] || continue
		case $rule in
		filesystem-setuid)
			if listed "$path" "$filesystem_setuid_removed"; then
				chmod ug-s -- "$path"
				changed "$rule" "$path no longer runs with its owner's rights"
			else
				note "$path runs with its owner's rights and is in neither list: look at it"
			fi
			;;
		filesystem-world-writable-folders)
			chmod +t -- "$path"
			changed "$rule" "$path sticky"
			;;
		filesystem-world-writable-files)
			chmod o-w -- "$path"
			changed "$rule" "$path not writable by others"
			;;
		filesystem-unowned)
			[[ -z $(find "$path" -maxdepth 0 -nouser) ]] || chown root -- "$path"
			[[ -z $(find "$path" -maxdepth 0 -nogroup) ]] || chgrp root -- "$path"
			changed "$rule" "$path belongs to root"
			;;
		filesystem-startup-files)
			chown root:root -- "$path"
			chmod go-w -- "$path"
			changed "$rule" "$path belongs to root, who alone may write it"
			;;
		esac
	done < <(objections)
}

device_strays() { # print regular files among the devices
	find /dev -xdev \( -path /dev/shm -o -path /dev/mqueue -o -path /dev/hugepages \) -prune -o -type f -print
}

hidden_strays() { # print hidden files among programs, settings and devices that no package brought and nobody named
	local path
	while read -r path; do
		case $path in '' | /etc/.pwd.lock | /etc/.updated) continue ;; esac
		listed "$path" "$filesystem_hidden_allowed" || rpm -qf --quiet -- "$path" >/dev/null 2>&1 || printf '%s\n' "$path"
	done < <(find /dev /etc /usr/bin /usr/sbin /usr/libexec /usr/local/bin /usr/local/sbin -xdev \
		\( -path /dev/shm -o -path /dev/mqueue \) -prune -o -name '.?*' -print 2>/dev/null)
}

remove_device_strays() {
	local path
	while read -r path; do
		[[ -n $path ]] || continue
		rm -f -- "$path"
		changed filesystem-device-files "$path removed"
	done <<<"$(device_strays)"
}

# --- mount options -----------------------------------------------------------------------------------------------

tmp_options() {
	printf 'nosuid,nodev'
	[[ $filesystem_tmp_noexec != true ]] || printf ',noexec'
}

live_options() { # PATH: print the options of its mount; nothing when it is none
	awk -v path="$1" '$2 == path { options = $4 } END { if (options != "") print options }' /proc/mounts
}

lacks() { # OPTIONS WANTED: one of WANTED is missing
	local each
	for each in ${2//,/ }; do [[ ,$1, == *",$each,"* ]] || return 0; done
	return 1
}

fstab_options() { # PATH: print what fstab says
	awk -v path="$1" '$1 !~ /^#/ && $2 == path { print $4 }' /etc/fstab 2>/dev/null || :
}

persisted_tmp() { # print the options that /tmp gets at the next boot
	local file options found
	options=$(fstab_options /tmp)
	if [[ -z $options ]]; then
		for file in /usr/lib/systemd/system/tmp.mount "$tmp_unit" "$tmp_unit.d"/*.conf; do
			found=$(active_value "$file" Options)
			[[ -z $found ]] || options=$found
		done
	fi
	printf '%s' "$options"
}

write_tmp() {
	local wanted new had
	wanted=$(tmp_options)
	had=$(fstab_options /tmp)
	if [[ -n $had ]]; then # the site has decided where /tmp lies
		if lacks "$had" "$wanted"; then
			new=$(beside /etc/fstab)
			awk -v wanted="$wanted" '$1 !~ /^#/ && $2 == "/tmp" { $4 = $4 "," wanted } { print }' /etc/fstab >"$new"
			swap filesystem-tmp-mount "$new" /etc/fstab
		fi
	elif [[ -e /usr/lib/systemd/system/local-fs.target.wants/tmp.mount && ! -L $tmp_unit ]]; then # a tmpfs, as AL2023 has it
		had=$(awk -F= '/^Options=/ { sub(/^Options=/, ""); options = $0 } END { print options }' /usr/lib/systemd/system/tmp.mount)
		printf '[Mount]\nOptions=%s,%s\n' "${had:-mode=1777,strictatime}" "$wanted" >"$scratch"
		place filesystem-tmp-mount "$scratch" "$tmp_unit.d/zz-isms.conf" 0644
	else
		sed "s/OPTIONS/$wanted/" "$isms_files/filesystem/tmp.mount" >"$scratch"
		place filesystem-tmp-mount "$scratch" "$tmp_unit" 0644
		enable_unit filesystem-tmp-mount tmp.mount
	fi
	# Without noexec: the component runner may be running programs from /tmp right now.
	had=$(live_options /tmp)
	lacks "$had" nosuid,nodev || return 0
	if [[ -z $had ]] && ! mount --bind /tmp /tmp 2>/dev/null; then
		note "/tmp gets its mount options at the next boot"
	elif mount -o remount,bind,nosuid,nodev /tmp 2>/dev/null; then
		changed filesystem-tmp-options "/tmp mounted with nosuid,nodev"
	else
		[[ -n $had ]] || umount /tmp
		note "/tmp gets its mount options at the next boot"
	fi
}

write_shm() {
	place filesystem-dev-shm-mount "$isms_files/filesystem/isms-dev-shm.service" "$shm_unit" 0644
	enable_unit filesystem-dev-shm-mount isms-dev-shm.service
	lacks "$(live_options /dev/shm)" nosuid,nodev,noexec || return 0
	if mount -o remount,nosuid,nodev,noexec /dev/shm 2>/dev/null; then
		changed filesystem-dev-shm-options "/dev/shm mounted with nosuid,nodev,noexec"
	else
		note "/dev/shm gets its mount options at the next boot"
	fi
}

# --- the verbs ---------------------------------------------------------------------------------------------------

scratch=$(mktemp)
trap 'rm -f -- "$scratch"' EXIT

refuse_locking_out() { # without these, nobody could become another user
	local path
	for path in /usr/bin/su /usr/bin/sudo /usr/bin/passwd /usr/bin/mount /usr/bin/umount /usr/sbin/unix_chkpwd; do
		! listed "$path" "$filesystem_setuid_removed" || die "filesystem_setuid_removed names $path, which must keep its rights"
	done
}

apply() {
	refuse_locking_out
	write_allow_files
	write_modes
	write_spools
	resolve_objections
	remove_device_strays
	write_tmp
	write_shm
}

check() {
	local rule wanted mode owner path name
	local -A bad=()
	while read -r rule wanted mode owner path; do
		mode_is_right "$wanted" "$mode" "$owner" || bad[$rule]+=" $path is $mode $owner"
	done <<<"$(known_modes)"
	while IFS=' ' read -r -d '' rule path; do
		bad[$rule]+=" $path"
	done < <(objections)
	for name in cron at; do
		rule=filesystem-$name-allow
		[[ -e /etc/$name.allow && ! -e /etc/$name.deny ]] || bad[$rule]+=" $name.allow is missing or $name.deny is there"
	done
	while read -r rule _; do
		verdict "$rule" "" "${bad[$rule]:-}"
	done <<<"$(printf '%s\n%s\n' "$exact" "$at_most" | sort -u -k 1,1)"
	for rule in setuid world-writable-folders world-writable-files unowned startup-files; do
		rule=filesystem-$rule
		verdict "$rule" "" "${bad[$rule]:-}"
	done
	verdict filesystem-cron-spool "" "$(spools)"
	verdict filesystem-device-files "" "$(device_strays)"
	verdict filesystem-hidden "" "$(hidden_strays)"
	if lacks "$(persisted_tmp)" "$(tmp_options)"; then fail filesystem-tmp-mount "$(tmp_options)" "$(persisted_tmp)"; else pass filesystem-tmp-mount; fi
	holds filesystem-dev-shm-mount "$shm_unit" cmp -s "$isms_files/filesystem/isms-dev-shm.service" "$shm_unit"
}

isms_main "$@"
