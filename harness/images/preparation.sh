#!/usr/bin/env bash
# Runs once in a container of a registry's image: installs what the AMI has and the image lacks, and makes the AMI's first user.
# Arguments: required packages, `--`, wanted packages. The last line of the output says `unchanged` or `changed`.
# Exit codes: 3 no rpm or package manager, 4 a required package does not exist, 5 the package manager failed.
set -u -o pipefail
export LC_ALL=C
umask 022

# Prints those of its arguments that are not installed; `rpm -q` also knows a package by what it provides.
missing() {
	local name
	for name in "$@"; do
		rpm -q --quiet --whatprovides "$name" || printf '%s\n' "$name"
	done
}

# A function, so that bash has read the whole script before a package reads from the same standard input.
prepare() {
	local required=() wanted=() lacking=() manager name group changed=0
	while [[ $# -gt 0 && $1 != -- ]]; do
		required+=("$1")
		shift
	done
	[[ $# -gt 0 ]] && shift
	[[ $# -gt 0 ]] && wanted=("$@")

	command -v rpm >/dev/null || {
		echo "Error: the image has no rpm" >&2
		exit 3
	}
	manager=$(command -v dnf || command -v yum || command -v microdnf) || {
		echo "Error: the image has neither dnf nor yum" >&2
		exit 3
	}

	mapfile -t lacking < <(missing ${required[@]+"${required[@]}"})
	if [[ ${#lacking[@]} -gt 0 ]]; then
		"$manager" -y install "${lacking[@]}" || exit 5
		mapfile -t lacking < <(missing "${lacking[@]}")
		if [[ ${#lacking[@]} -gt 0 ]]; then
			echo "Error: not in the repository: ${lacking[*]}" >&2
			exit 4
		fi
		changed=1
	fi

	# One by one: a name that a release has dropped must not cost the others.
	mapfile -t lacking < <(missing ${wanted[@]+"${wanted[@]}"})
	for name in ${lacking[@]+"${lacking[@]}"}; do
		if "$manager" -y install "$name" && rpm -q --quiet --whatprovides "$name"; then
			changed=1
		else
			echo "left out: $name"
		fi
	done

	# cloud-init makes this user at an instance's first boot; a container never has one.
	if ! getent passwd ec2-user >/dev/null; then
		useradd -m -U -s /bin/bash -c "EC2 Default User" ec2-user || exit 5
		for group in adm wheel systemd-journal; do
			if getent group "$group" >/dev/null; then
				usermod -a -G "$group" ec2-user || exit 5
			fi
		done
		install -d -m 0750 /etc/sudoers.d || exit 5
		printf 'ec2-user ALL=(ALL) NOPASSWD:ALL\n' >/etc/sudoers.d/90-cloud-init-users || exit 5
		chmod 0440 /etc/sudoers.d/90-cloud-init-users || exit 5
		changed=1
	fi

	if [[ $changed -eq 1 ]]; then
		"$manager" clean all >/dev/null 2>&1
		echo changed
	else
		echo unchanged
	fi
}

prepare "$@" </dev/null
