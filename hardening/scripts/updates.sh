#!/usr/bin/env bash
# Whether known holes are closed, where packages come from, and that an instance stays as it was tested.
# Rules: updates-* of rules/updates.yaml. Parameters: updates_scope, updates_releasever, updates_at_first_boot.
# shellcheck disable=SC2154  # the parameters
# shellcheck source=lib.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

cloud_file=/etc/cloud/cloud.cfg.d/99-isms-updates.cfg
release_lock=/etc/dnf/vars/releasever

# A repository that does not answer is an error: with skip_if_unavailable it would look like one without updates.
package_manager() { # ARGUMENTS…: yum, which is dnf on AL2023; waits up to ten minutes for another one's lock
	local -a options=(-q '--setopt=*.skip_if_unavailable=0' --setopt=exit_on_lock=1)
	local code tries
	[[ -z $updates_releasever ]] || options+=("--releasever=$updates_releasever")
	for ((tries = 0; tries < 120; tries++)); do
		code=0
		yum "${options[@]}" "$@" || code=$?
		((code == 200)) || return "$code"
		sleep 5
	done
	die "another process has held the package manager's lock for ten minutes"
}

pending() { # print the security advisories that are not installed
	package_manager updateinfo list security >"$scratch" || die "the repositories do not say which updates there are"
	grep -F /Sec. "$scratch" || :
}

# --- where packages come from --------------------------------------------------------------------------------------

package_files() { # print the files that say it, each once
	local file
	for file in /etc/yum.conf /etc/dnf/dnf.conf /etc/yum.repos.d/*.repo; do
		[[ -f $file ]] && real "$file"
	done | sort -u
}

# A repository in the image's own file system is as trustworthy as the image; Amazon's servers all speak TLS.
trust() { # FILE: print it with signatures checked, in [main] and for each repository on another machine
	awk '
		function encrypted(text, server) {
			if (!match(text, /http:\/\/[^\/ ]*/)) return text
			server = substr(text, RSTART + 7, RLENGTH - 7)
			if (server ~ /(^|\.)(amazonaws\.com(\.cn)?|amazonlinux\.com)$/) sub(/http:/, "https:", text)
			return text
		}
		{ sub(/\r+$/, ""); check = $0 ~ /^gpgcheck[ \t]*=/; off = check && $0 !~ /=[ \t]*(1|yes|true|on)[ \t]*$/ }
		/^\[/ { section = $0; urls = 0 }
		NR == FNR { # first pass: which sections lead to another machine, and whether [main] speaks of signatures
			if (check && section == "[main]") main = 1
			text = $0
			if (sub(/^(baseurl|mirrorlist|metalink)[ \t]*=/, "", text)) urls = 1; else if ($0 !~ /^[ \t]/) urls = 0
			if (urls && text ~ /[^ \t]/) { if (text ~ /^[ \t]*file:/) here[section] = 1; else away[section] = 1 }
			next
		}
		section == "[main]" && check { if (!told++) print (off ? "gpgcheck=1" : $0); next }
		off && (away[section] || !here[section]) { print "gpgcheck=1"; next }
		{ print encrypted($0) }
		$0 == "[main]" && !main { print "gpgcheck=1"; main = 1 }
	' "$1" "$1"
}

settled() { # FILE
	trust "$1" | cmp -s - "$1"
}

signature_rule() { # FILE
	if [[ $1 == *.repo ]]; then printf updates-repository-signatures; else printf updates-signatures; fi
}

write_trust() {
	local file new
	while read -r file; do
		settled "$file" && continue
		new=$(beside "$file")
		trust "$file" >"$new"
		swap "$(signature_rule "$file")" "$new" "$file"
	done <<<"$(package_files)"
	for file in /etc/yum/vars/awsproto /etc/dnf/vars/awsproto; do
		[[ -f $file && $(<"$file") == http ]] || continue
		new=$(beside "$file")
		printf 'https\n' >"$new"
		swap updates-repositories "$new" "$file"
	done
}

# --- the first boot ------------------------------------------------------------------------------------------------

first_boot_text() {
	printf '# An instance starts as it was tested; updates come with the next image.\nrepo_upgrade: %s\npackage_upgrade: %s\n' \
		"$updates_at_first_boot" "$([[ $updates_at_first_boot == none ]] && echo false || echo true)"
}

later_files() { # print files of cloud-init that are read after ours and say otherwise
	local file name
	for file in "${cloud_file%/*}"/*.cfg; do
		name=${file##*/}
		[[ -f $file && $name > ${cloud_file##*/} ]] && grep -lE '^(repo_upgrade|package_upgrade)[[:space:]]*:' "$file" || :
	done
}

write_first_boot() {
	local file new
	first_boot_text >"$scratch"
	place updates-first-boot "$scratch" "$cloud_file" 0644
	while read -r file; do
		[[ -n $file ]] || continue
		new=$(beside "$(real "$file")")
		sed -E 's/^(repo_upgrade|package_upgrade)[[:space:]]*:/# isms: &/' "$file" >"$new"
		swap updates-first-boot "$new" "$(real "$file")"
	done <<<"$(later_files)"
}

# --- updates -------------------------------------------------------------------------------------------------------

update() {
	local before after missing code=0
	case $updates_scope in
	none) return 0 ;;
	security)
		missing=$(pending) # on a line of its own: a failure in there ends the script
		[[ -n $missing ]] || return 0
		;;
	all)
		package_manager check-update >/dev/null || code=$?
		((code != 0)) || return 0
		((code == 100)) || die "the repositories do not say which updates there are"
		;;
	*) die "updates_scope is security, all or none" ;;
	esac
	before=$(rpm -qa | sort)
	if [[ $updates_scope == all ]]; then
		package_manager -y update >&2 || die "the updates cannot be installed"
	else
		package_manager -y update --security >&2 || die "the security updates cannot be installed"
	fi
	while read -r after; do
		[[ -z $after ]] || changed updates-security "$after installed"
	done <<<"$(comm -13 <(printf '%s\n' "$before") <(rpm -qa | sort))"
}

scratch=$(mktemp)
trap 'rm -f -- "$scratch"' EXIT

apply() {
	write_trust
	write_first_boot
	if [[ -f $release_lock && $(<"$release_lock") == latest ]]; then
		rm -f -- "$release_lock"
		changed updates-release-lock "$release_lock removed: the installed release decides"
	fi
	update
}

check() {
	local file rule missing
	local -A bad=()
	while read -r file; do
		settled "$file" || bad[$(signature_rule "$file")]+=" $file"
	done <<<"$(package_files)"
	for rule in updates-signatures updates-repository-signatures; do
		verdict "$rule" "" "${bad[$rule]:-}"
	done
	if [[ -f $cloud_file && $(first_boot_text) == "$(<"$cloud_file")" && -z $(later_files) ]]; then
		pass updates-first-boot
	else
		fail updates-first-boot "repo_upgrade: $updates_at_first_boot" "another value, or none"
	fi
	if [[ -f $release_lock && $(<"$release_lock") == latest ]]; then fail updates-release-lock "a fixed release" latest; else pass updates-release-lock; fi
	missing=$(pending)
	verdict updates-security "" "${missing//$'\n'/, }"
}

isms_main "$@"
