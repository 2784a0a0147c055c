#!/usr/bin/env bash
# What the kernel lets the network, programs and devices do.
# Rules: kernel-* of rules/kernel.yaml.
# Parameters: kernel_ip_forward, kernel_ipv6_forward, kernel_reverse_path, kernel_router_advertisements,
# kernel_ptrace_scope, kernel_sysrq, kernel_disabled_modules.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

# The name sorts after 99-sysctl.conf and after every vendor's 99-*.conf: for one key, the last file wins.
sysctl_file=/etc/sysctl.d/99-zz-isms.conf
udev_file=/etc/udev/rules.d/99-zz-isms-interfaces.rules
# The other way round: of several `install` lines for a module, modprobe takes the first.
modprobe_file=/etc/modprobe.d/00-isms-modules.conf
limits_file=/etc/security/limits.d/zz-isms-core.conf
coredump_file=/etc/systemd/coredump.conf.d/zz-isms.conf

# RULE KEY VALUE. `*` in a key: `all`, `default` and every interface; existing interfaces do not follow `all`, and an
# IPv6 interface does not even follow `default`. `+` after a value: a greater one is stricter and stays.
# Forwarding comes first, since switching it resets others.
settings() {
	cat <<END
kernel-ip-forward net/ipv4/ip_forward $kernel_ip_forward
kernel-ipv6-forward net/ipv6/conf/all/forwarding $kernel_ipv6_forward
kernel-send-redirects net/ipv4/conf/*/send_redirects 0
kernel-accept-redirects net/ipv4/conf/*/accept_redirects 0
kernel-ipv6-accept-redirects net/ipv6/conf/*/accept_redirects 0
kernel-secure-redirects net/ipv4/conf/*/secure_redirects 0
kernel-source-route net/ipv4/conf/*/accept_source_route 0
kernel-ipv6-source-route net/ipv6/conf/*/accept_source_route 0
kernel-reverse-path net/ipv4/conf/*/rp_filter $kernel_reverse_path
kernel-log-martians net/ipv4/conf/*/log_martians 1
kernel-ipv6-router-advertisements net/ipv6/conf/*/accept_ra $kernel_router_advertisements
kernel-icmp-broadcasts net/ipv4/icmp_echo_ignore_broadcasts 1
kernel-icmp-bogus-errors net/ipv4/icmp_ignore_bogus_error_responses 1
kernel-syn-cookies net/ipv4/tcp_syncookies 1
kernel-address-randomization kernel/randomize_va_space 2
kernel-kptr-restrict kernel/kptr_restrict 1+
kernel-dmesg-restrict kernel/dmesg_restrict 1
kernel-ptrace-scope kernel/yama/ptrace_scope $kernel_ptrace_scope+
kernel-sysrq kernel/sysrq $kernel_sysrq
kernel-unprivileged-bpf kernel/unprivileged_bpf_disabled 1+
kernel-setuid-dumpable fs/suid_dumpable 0
kernel-protected-hardlinks fs/protected_hardlinks 1
kernel-protected-symlinks fs/protected_symlinks 1
kernel-protected-fifos fs/protected_fifos 1+
kernel-protected-regular fs/protected_regular 1+
END
}

declare -a wanted_keys=()
declare -A wanted_rule=() wanted_value=() enough=()

load_settings() { # fill the tables; keys are paths under /proc/sys
	local rule key value part each
	while read -r rule key value; do
		for part in all default; do
			[[ $key == *'*'* || $part == all ]] || continue
			each=${key/\*/$part}
			wanted_keys+=("$each")
			wanted_rule[$each]=$rule
			wanted_value[$each]=${value%+}
			if [[ $value == *+ ]]; then enough[$each]=1; fi
		done
	done <<<"$(settings)"
}

satisfied() { # KEY OBSERVED: as wanted, or stricter where that is possible
	[[ $2 == "${wanted_value[$1]}" ]] && return 0
	[[ -n ${enough[$1]:-} && $2 =~ ^[0-9]+$ && $2 -gt ${wanted_value[$1]} ]]
}

judged_by=
find_judge() { # PATH: put the key that judges it into judged_by: an interface is judged by `default`
	judged_by=${1#/proc/sys/}
	if [[ -z ${wanted_value[$judged_by]:-} && $judged_by == net/ipv[46]/conf/*/* ]]; then
		judged_by=${judged_by%%/conf/*}/conf/default/${judged_by##*/}
	fi
}

running_paths() { # every file under /proc/sys that a setting speaks of, interfaces included
	local rule key value path
	while read -r rule key value; do
		for path in /proc/sys/$key; do
			[[ -e $path ]] && printf '%s\n' "$path"
		done
	done <<<"$(settings)"
	return 0
}

# --- what the files say ------------------------------------------------------------------------------------------

sysctl_files() { # boot|system: print the files in the order in which they are read
	local folder path name
	local -a folders=(/etc /run /usr/local/lib /usr/lib /lib)
	local -A seen=()
	# systemd-sysctl reads /etc/sysctl.conf only through the link 99-sysctl.conf; `sysctl --system` reads it last.
	[[ $1 == boot ]] || folders=(/run /etc /usr/local/lib /usr/lib /lib)
	for folder in "${folders[@]}"; do
		for path in "$folder"/sysctl.d/*.conf; do
			name=${path##*/}
			[[ -e $path && ! -d $path && -z ${seen[$name]:-} ]] || continue
			seen[$name]=1
			printf '%s\t%s\n' "$name" "$path"
		done
	done | sort | cut -f 2
	[[ $1 == boot || ! -e /etc/sysctl.conf ]] || printf '/etc/sysctl.conf\n'
}

# Of the characters . and / the first in a key is its separator, the other is itself (sysctl.d(5)).
# shellcheck disable=SC2016  # awk's own $0
sysctl_awk='
	function canonical(key, marks, swapped, at, one) {
		sub(/^-/, "", key); marks = key; gsub(/[^.\/]/, "", marks)
		if (substr(marks, 1, 1) != ".") return key
		for (at = 1; at <= length(key); at++) {
			one = substr(key, at, 1)
			swapped = swapped (one == "." ? "/" : one == "/" ? "." : one)
		}
		return swapped
	}
	function parse(line) { # sets key and value; key is empty when the line assigns nothing
		key = ""; sub(/\r$/, "", line); sub(/^[ \t]+/, "", line)
		if (line ~ /^[#;]/ || line !~ /=/) return
		value = line; sub(/^[^=]*=[ \t]*/, "", value); sub(/[ \t]+$/, "", value)
		key = line; sub(/[ \t]*=.*$/, "", key); key = canonical(key)
	}
	function family(name) { # the key with `*` for the interface; empty for other keys
		return name ~ /^net\/ipv[46]\/conf\/[^\/]+\/[^\/]+$/ ? starred(name) : ""
	}
	function starred(name, parts) { split(name, parts, "/"); return parts[1] "/" parts[2] "/conf/*/" parts[5] }
	BEGIN {
		count = split(ENVIRON["ISMS_SETTINGS"], rows, "\n")
		for (row = 1; row <= count; row++) { split(rows[row], cell, " "); if (cell[2] != "") { want[cell[2]] = cell[3] } }
	}
	function differs(name, observed, wanted) {
		wanted = name in want ? want[name] : family(name) in want ? want[family(name)] : ""
		if (wanted == "") return 0
		if (wanted ~ /\+$/ && observed ~ /^[0-9]+$/) return observed + 0 < wanted + 0
		sub(/\+$/, "", wanted)
		return observed != wanted
	}
	function contradicts(name, observed, later, parts) { # a line for one interface counts wherever it stands
		if (!differs(name, observed)) return 0
		split(name, parts, "/")
		return later || (parts[3] == "conf" && parts[4] !~ /^(all|default|\*)$/)
	}
'

persisted() { # boot|system: print `KEY VALUE` for every key that some file sets
	local -a files=()
	mapfile -t files <<<"$(sysctl_files "$1")"
	[[ -n ${files[0]} ]] || return 0
	ISMS_SETTINGS=$(settings) awk "$sysctl_awk"'
		{ parse($0); if (key == "") next; if (key ~ /\*/) star[key] = value; else said[key] = value }
		END {
			for (name in want) {
				if (name !~ /\*/) { tell(name); continue }
				one = name; sub(/\*/, "all", one); tell(one); sub(/\/all\//, "/default/", one); tell(one)
			}
			for (name in said) if (contradicts(name, said[name], 0)) print name, said[name]
		}
		function tell(name) {
			if (name in said) print name, said[name]
			else if (family(name) in star) print name, star[family(name)]
		}
	' "${files[@]}"
}

contradicting_files() { # print the files that speak against a setting where that counts
	local -a files=()
	mapfile -t files <<<"$(sysctl_files system)"
	ISMS_SETTINGS=$(settings) ISMS_OURS=$sysctl_file awk "$sysctl_awk"'
		FILENAME == ENVIRON["ISMS_OURS"] { later = 1; next }
		{ parse($0); if (key != "" && contradicts(key, value, later) && !told[FILENAME]++) print FILENAME, later + 0 }
	' "${files[@]}"
}

silence() { # FILE LATER: comment out the lines that contradict; a file of the vendor is overridden by an edited copy
	local file=$1 target new
	target=$(real "$file")
	[[ $target == /etc/* || $target == /run/* ]] || target=/etc/sysctl.d/${file##*/}
	new=$(beside "$target")
	chmod 0644 -- "$new"
	ISMS_SETTINGS=$(settings) ISMS_LATER=$2 awk "$sysctl_awk"'
		{ parse($0); print (key != "" && contradicts(key, value, ENVIRON["ISMS_LATER"] + 0) ? "# isms: " : "") $0 }
	' "$file" >"$new"
	swap kernel "$new" "$target"
}

write_files() {
	local key line file later scratch
	scratch=$(mktemp -d)
	{
		printf '# Kernel parameters of the ISMS baseline. This file is read last; a line elsewhere does not win against it.\n'
		for key in "${wanted_keys[@]}"; do printf '%s = %s\n' "${key//\//.}" "${wanted_value[$key]}"; done
	} >"$scratch/sysctl"
	{
		printf '# An interface that exists before the kernel parameters are set keeps its old values: give every one the same.\n'
		printf 'ACTION=="add", SUBSYSTEM=="net", RUN+="/usr/sbin/sysctl -e -q -w'
		while read -r _ key line; do
			[[ $key == *'*'* ]] && printf ' %s=%s' "${key/\*/\$name}" "${line%+}"
		done <<<"$(settings)"
		printf '"\n'
	} >"$scratch/udev"
	# A file of our name in /run would hide ours from `sysctl --system`.
	if [[ -e /run/sysctl.d/${sysctl_file##*/} ]]; then
		rm -f -- "/run/sysctl.d/${sysctl_file##*/}"
		changed kernel "/run/sysctl.d/${sysctl_file##*/} removed"
	fi
	place kernel "$scratch/sysctl" "$sysctl_file" 0644
	place kernel-new-interfaces "$scratch/udev" "$udev_file" 0644
	rm -rf -- "$scratch"
	while read -r file later; do
		[[ -z $file ]] || silence "$file" "$later"
	done <<<"$(contradicting_files)"
}

# --- what runs ---------------------------------------------------------------------------------------------------

write_running() { # set what can be set now; the file does the rest at the next boot
	local path now waiting=
	while read -r path; do
		find_judge "$path"
		read -r now 2>/dev/null <"$path" || continue
		satisfied "$judged_by" "$now" && continue
		if [[ -w $path ]] && { printf '%s\n' "${wanted_value[$judged_by]}" >"$path"; } 2>/dev/null; then
			changed "${wanted_rule[$judged_by]}" "$path $now -> ${wanted_value[$judged_by]}"
		else
			waiting+=" ${path#/proc/sys/}"
		fi
	done <<<"$(running_paths)"
	[[ -z $waiting ]] || note "read-only here, set at the next boot:$waiting"
}

# --- modules and core dumps --------------------------------------------------------------------------------------

module_lines() { # what our file holds: never loaded by name, never by an alias
	local module
	for module in ${kernel_disabled_modules//,/ }; do
		printf 'install %s /bin/false\nblacklist %s\n' "$module" "$module"
	done
}

contrary_installs() { # print `FILE LINE-NUMBER MODULE` of lines of other files that say how to load one of the modules
	local -a files=()
	local file
	for file in /etc/modprobe.d/*.conf; do
		[[ -f $file && $file != "$modprobe_file" ]] && files+=("$file")
	done
	((${#files[@]})) || return 0
	ISMS_MODULES=${kernel_disabled_modules//,/ } awk '
		BEGIN { count = split(ENVIRON["ISMS_MODULES"], names, " "); for (n = 1; n <= count; n++) { gsub(/-/, "_", names[n]); off[names[n]] = 1 } }
		$1 == "install" {
			name = $2; gsub(/-/, "_", name); sub(/\r$/, "")
			if (name in off && $3 !~ /^(\/usr)?\/bin\/(false|true)$/) print FILENAME, FNR, name
		}
	' "${files[@]}"
}

write_modules() {
	local new file number
	while read -r file number _; do
		[[ -n $file ]] || continue
		new=$(beside "$(real "$file")")
		awk -v number="$number" '{ print (FNR == number ? "# isms: " : "") $0 }' "$file" >"$new"
		swap kernel "$new" "$(real "$file")"
	done <<<"$(contrary_installs)"
	new=$(mktemp)
	{
		printf '# Modules of the ISMS baseline that nothing on a server in EC2 needs.\n'
		module_lines
	} >"$new"
	place kernel "$new" "$modprobe_file" 0644
	rm -f -- "$new"
}

core_limits() { # print `FILE LINE-NUMBER` of limits that allow a core file
	local file
	for file in /etc/security/limits.conf /etc/security/limits.d/*.conf; do
		[[ -f $file ]] || continue
		awk '{ sub(/\r$/, "") } $1 !~ /^#/ && ($2 == "hard" || $2 == "-") && $3 == "core" && $4 != "0" { print FILENAME, FNR }' "$file"
	done
}

write_core_dumps() {
	local file number new line name
	while read -r file number; do
		[[ -n $file ]] || continue
		new=$(beside "$(real "$file")")
		awk -v number="$number" '{ print (FNR == number ? "# isms: " : "") $0 }' "$file" >"$new"
		swap kernel-core-limit "$new" "$(real "$file")"
	done <<<"$(core_limits)"
	place kernel-core-limit "$isms_files/kernel/limits.conf" "$limits_file" 0644
	# A drop-in that is read after ours loses the two lines.
	for file in "${coredump_file%/*}"/*.conf; do
		name=${file##*/}
		[[ -f $file && $name > ${coredump_file##*/} ]] || continue
		line=$(grep -nE '^[[:space:]]*(Storage|ProcessSizeMax)[[:space:]]*=' "$file" || :)
		[[ -n $line ]] || continue
		new=$(beside "$(real "$file")")
		sed -E 's/^([[:space:]]*(Storage|ProcessSizeMax)[[:space:]]*=)/# isms: \1/' "$file" >"$new"
		swap kernel-core-storage "$new" "$(real "$file")"
	done
	place kernel-core-storage "$isms_files/kernel/coredump.conf" "$coredump_file" 0644
}

# --- the verbs ---------------------------------------------------------------------------------------------------

apply() {
	load_settings
	write_files
	write_running
	write_modules
	write_core_dumps
}

judge_settings() {
	local view key value path rule
	local -A said=() problem=()
	for view in boot system; do
		said=()
		while read -r key value; do
			[[ -n $key ]] || continue
			said[$key]=$value
			[[ -n ${wanted_value[$key]:-} ]] && continue
			find_judge "$key" # a line for one interface, printed only when it contradicts
			problem[${wanted_rule[$judged_by]}]="$key=$value in a file"
		done <<<"$(persisted "$view")"
		for key in "${wanted_keys[@]}"; do
			satisfied "$key" "${said[$key]:-absent}" || problem[${wanted_rule[$key]}]="${said[$key]:-absent} for $key in the files ($view)"
		done
	done
	while read -r path; do
		[[ -w $path ]] || continue # not ours to set: what the file says counts
		find_judge "$path"
		read -r value 2>/dev/null <"$path" || continue
		satisfied "$judged_by" "$value" || problem[${wanted_rule[$judged_by]}]="$path is $value"
	done <<<"$(running_paths)"
	while read -r rule _ value; do
		if [[ -n ${problem[$rule]:-} ]]; then fail "$rule" "$value" "${problem[$rule]}"; else pass "$rule"; fi
	done <<<"$(settings)"
}

coredump_value() { # KEY: of all drop-ins, the last one says it
	local file value=absent found
	for file in "${coredump_file%.d/*}" "${coredump_file%/*}"/*.conf; do
		found=$(active_value "$file" "$1")
		[[ -z $found ]] || value=$found
	done
	printf '%s' "$value"
}

check() {
	local contrary module
	load_settings
	judge_settings
	holds kernel-new-interfaces "$udev_file" test -s "$udev_file"
	contrary=$(contrary_installs)
	for module in ${kernel_disabled_modules//,/ }; do
		if [[ " $contrary" == *" ${module//-/_}"* ]]; then
			fail "kernel-module-$module" "install $module /bin/false" "another install line"
		else
			holds "kernel-module-$module" "install $module /bin/false" grep -sqxF "install $module /bin/false" "$modprobe_file"
		fi
	done
	if [[ -n $(core_limits) ]]; then
		fail kernel-core-limit "hard core 0" "$(core_limits)"
	else
		verdict kernel-core-limit 0 "$(awk '$1 == "*" && $2 == "hard" && $3 == "core" { print $4 }' "$limits_file" 2>/dev/null || :)"
	fi
	verdict kernel-core-storage none "$(coredump_value Storage)"
	verdict kernel-core-backtrace 0 "$(coredump_value ProcessSizeMax)"
}

isms_main "$@"
