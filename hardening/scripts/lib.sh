# shellcheck shell=bash
# What every hardening script shares. Written for bash 4.2 (Amazon Linux 2): no `local -n`, no `${x@Q}`, no `mapfile -d`,
# and never "${array[@]}" of an array that may be empty.
# grep reads `[ \t]` as blank, backslash and t: write [[:space:]] there.
#
# A script defines two functions and ends with `isms_main "$@"`:
#   apply   makes the settings true; every change is told with `changed RULE TEXT`; a second run changes nothing
#   check   judges them without changing anything: `pass RULE` or `fail RULE EXPECTED OBSERVED`
# Called as:  bash ssh.sh apply|check [parameter=value …]     Each parameter becomes a shell variable of that name.
# Exit codes: 0 done, or every check passed; 1 a check failed; 2 called wrongly; anything else: the script itself broke.

set -euo pipefail
umask 022
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin

isms_changes=0
isms_failures=0
isms_off='' # rules that a configuration switches off, between blanks
isms_folder=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# Files that a script installs stand beside it, in files/<subject>/.
# shellcheck disable=SC2034  # read by the scripts
isms_files=$isms_folder/files

# --- telling -----------------------------------------------------------------------------------------------------

changed() { # RULE TEXT…
	isms_changes=$((isms_changes + 1))
	printf 'changed %s %s\n' "$1" "${*:2}"
}

note() { # TEXT…: something a reader of the log should know; not a change
	printf 'note %s\n' "$*"
}

switched_off() { # RULE: the configuration says that it is left alone, and judged by nobody
	[[ " $isms_off " == *" $1 "* ]]
}

pass() { # RULE
	printf 'pass %s\n' "$1"
}

fail() { # RULE EXPECTED OBSERVED
	if switched_off "$1"; then
		printf 'off %s\n' "$1"
		return 0
	fi
	isms_failures=$((isms_failures + 1))
	printf 'fail %s expected=%s observed=%s\n' "$1" "$2" "$3"
}

verdict() { # RULE EXPECTED OBSERVED: pass when both are the same
	if [[ $2 == "$3" ]]; then pass "$1"; else fail "$1" "$2" "$3"; fi
}

holds() { # RULE EXPECTED COMMAND…: pass when the command says yes
	if "${@:3}"; then pass "$1"; else fail "$1" "$2" "not so"; fi
}

die() { # TEXT…: the script cannot go on; the step fails
	printf 'error %s\n' "$*" >&2
	exit 3
}

# --- asking ------------------------------------------------------------------------------------------------------

os_release() { # KEY: a value of /etc/os-release
	# shellcheck disable=SC1091
	(. /etc/os-release && eval "printf '%s' \"\${$1:-}\"")
}

is_booted() { # whether systemd runs here (and not only its files are here)
	[[ -d /run/systemd/system ]]
}

has_unit() { # UNIT: a unit file of this name exists, masked or not
	systemctl cat -- "$1" >/dev/null 2>&1 || [[ -e /etc/systemd/system/$1 || -L /etc/systemd/system/$1 ]]
}

has_package() { # NAME
	rpm -q --quiet -- "$1"
}

real() { # PATH: where a link leads; edits go to the target, so that the link stays a link
	readlink -f -- "$1"
}

# --- changing files ----------------------------------------------------------------------------------------------
# Every file is replaced by one rename in its own folder: a reader sees the old or the new text, never half of it.

beside() { # PATH: print the name of a new empty temporary file in the folder of PATH
	mktemp -- "$(dirname -- "$1")/.isms.XXXXXX"
}

swap() { # RULE NEW PATH: put NEW in place of PATH with PATH's mode, owner and label, if it differs; NEW is gone afterwards
	local rule=$1 new=$2 path=$3
	if switched_off "$rule" || { [[ -e $path ]] && cmp -s -- "$new" "$path"; }; then
		rm -f -- "$new"
		return 0
	fi
	if [[ -e $path ]]; then
		chmod --reference="$path" -- "$new"
		chown --reference="$path" -- "$new"
		if command -v chcon >/dev/null 2>&1; then chcon --reference="$path" -- "$new" 2>/dev/null || :; fi
	fi
	mv -f -- "$new" "$path"
	changed "$rule" "$path"
}

own() { # RULE PATH MODE OWNER GROUP: exactly this mode and owner, of the link's target
	local rule=$1 path=$2 mode=$3 owner=$4 group=$5 now
	[[ -e $path ]] && ! switched_off "$rule" || return 0
	now=$(stat -L -c '%a %U %G' -- "$path")
	[[ $now == "$((10#${mode#0} + 0)) $owner $group" || $now == "${mode#0} $owner $group" ]] && return 0
	chown -- "$owner:$group" "$path"
	chmod -- "$mode" "$path"
	changed "$rule" "$path $now -> $mode $owner $group"
}

tighten() { # RULE PATH MODE [OWNER GROUP]: take away every permission bit that MODE lacks; never add one
	local rule=$1 path=$2 allowed=$3 owner=${4:-} group=${5:-} now bits
	[[ -e $path ]] && ! switched_off "$rule" || return 0
	now=$(stat -L -c '%a' -- "$path")
	bits=$((8#$now & 8#$allowed))
	if ((bits != 8#$now)); then
		chmod -- "$(printf '%04o' "$bits")" "$path"
		changed "$rule" "$path $now -> $(printf '%04o' "$bits")"
	fi
	if [[ -n $owner && $(stat -L -c '%U %G' -- "$path") != "$owner $group" ]]; then
		chown -- "$owner:$group" "$path"
		changed "$rule" "$path owned by $owner:$group"
	fi
}

place() { # RULE SOURCE PATH MODE: install a file of ours, owner root, parents made 0755
	local rule=$1 source=$2 path=$3 mode=$4 new
	if switched_off "$rule"; then return 0; fi
	mkdir -p -- "$(dirname -- "$path")"
	new=$(beside "$path")
	cat -- "$source" >"$new"
	chmod -- "$mode" "$new"
	if [[ -f $path && ! -L $path ]] && cmp -s -- "$new" "$path"; then
		rm -f -- "$new"
	else
		mv -f -- "$new" "$path"
		changed "$rule" "$path"
	fi
	own "$rule" "$path" "$mode" root root
}

assign() { # RULE FILE KEY VALUE [SEPARATOR]: exactly one active `KEY<SEPARATOR>VALUE` line; other active ones are dropped
	local rule=$1 file=$2 key=$3 value=$4 separator=${5- = } new target
	if switched_off "$rule"; then return 0; fi
	[[ -e $file ]] || {
		mkdir -p -- "$(dirname -- "$file")"
		: >"$file"
		chmod 0644 -- "$file"
	}
	target=$(real "$file")
	new=$(beside "$target")
	# The pattern is compared as text (index/substr), since keys hold dots.
	ISMS_KEY=$key ISMS_LINE=$key$separator$value awk '
		BEGIN { key = ENVIRON["ISMS_KEY"]; line = ENVIRON["ISMS_LINE"]; done = 0 }
		{
			text = $0; sub(/\r$/, "", text); bare = text; sub(/^[ \t]+/, "", bare)
			rest = substr(bare, length(key) + 1)
			if (substr(bare, 1, length(key)) == key && rest ~ /^([ \t=]|$)/) {
				if (!done) { print line; done = 1 }
				next
			}
			print text
		}
		END { if (!done) print line }
	' "$target" >"$new"
	swap "$rule" "$new" "$target"
}

active_value() { # FILE KEY: print the value of the last active `KEY = VALUE` or `KEY VALUE` line; nothing when there is none
	[[ -r $1 ]] || return 0
	ISMS_KEY=$2 awk '
		BEGIN { key = ENVIRON["ISMS_KEY"] }
		{
			sub(/\r$/, ""); sub(/^[ \t]+/, "")
			rest = substr($0, length(key) + 1)
			if (substr($0, 1, length(key)) == key && rest ~ /^[ \t=]/) {
				sub(/^[ \t]*=?[ \t]*/, "", rest); sub(/[ \t]+$/, "", rest); value = rest
			}
		}
		END { if (value != "") print value }
	' "$1"
}

# --- packages and units ------------------------------------------------------------------------------------------

need_package() { # RULE NAME: installed, from the repositories that the machine has
	if switched_off "$1" || has_package "$2"; then return 0; fi
	yum -y -q install -- "$2" >/dev/null || die "the package $2 cannot be installed"
	changed "$1" "package $2 installed"
}

enable_unit() { # RULE UNIT: starts at every boot; a masked unit is unmasked
	local rule=$1 unit=$2 state
	if switched_off "$rule"; then return 0; fi
	state=$(systemctl is-enabled -- "$unit" 2>/dev/null || :)
	case $state in
	enabled | static | indirect | alias | generated) return 0 ;;
	masked) systemctl -q unmask -- "$unit" ;;
	esac
	systemctl -q enable -- "$unit" || die "$unit cannot be enabled"
	changed "$rule" "$unit enabled"
}

start_unit() { # RULE UNIT: runs now, where systemd runs at all
	is_booted && ! switched_off "$1" || return 0
	systemctl -q is-active -- "$2" && return 0
	systemctl start -- "$2" || die "$2 does not start: systemctl status $2"
	changed "$1" "$2 started"
}

# --- the frame ---------------------------------------------------------------------------------------------------

isms_main() {
	local verb=${1:-} argument name
	shift || :
	for argument in "$@"; do
		name=${argument%%=*}
		[[ $argument == *=* && $name =~ ^[a-z][a-z0-9_]*$ ]] || {
			printf 'error not a parameter: %s\n' "$argument" >&2
			exit 2
		}
		printf -v "$name" '%s' "${argument#*=}"
	done
	[[ $(id -u) -eq 0 ]] || die "must run as root"
	case $verb in
	apply)
		# What a run that was killed left beside the file that it was about to replace.
		find /etc /boot /opt /root /home /usr/lib /var/lib -xdev ! -type d -name '.isms.??????*' -delete 2>/dev/null || :
		apply
		printf 'summary changes=%d\n' "$isms_changes"
		;;
	check)
		check
		printf 'summary failures=%d\n' "$isms_failures"
		((isms_failures == 0)) || exit 1
		;;
	*)
		printf 'usage: %s apply|check [parameter=value …]\n' "$0" >&2
		exit 2
		;;
	esac
}
