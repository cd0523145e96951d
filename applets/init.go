package applets

import (
	"cmp"
	"context"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"sockbox/applets/internal/cli"
)

var initApplet = &cli.Applet{
	Name:     "init",
	Operands: "bash|zsh|sh|fish|ksh",
	Short:    "Make a shell at home with buffers",
	Long: `
Print code for a shell to eval: afterwards every applet can be called without
"sockbox" before it, and in bash, zsh and sh (dash, busybox) "read jobs" takes a
message out of the buffer jobs and "write mail hello" puts one into mail, while
everything else that a script does with "read" and "write" stays as it was.

"read" becomes a function that hands over to sockbox when it has one operand, no
option, and there is a live buffer of that name; "write" does so when its first
operand is the name of a live buffer. In all other cases the shell's own read, or
the system's write, gets the words, the input, the variables and the IFS as they
are, and its status is the function's. Whether a buffer lives is seen from its
socket, without starting a program. So "read -r line", with an option, is always
the shell's, and so is "read -t 5 jobs": for options say "sock-read -t 5 jobs",
"sockbox read" or "sock-write". A variable that is called like a live buffer is
read with an option, as in "read -r jobs", or with "builtin read jobs" (in sh:
"command read jobs").

What can tell the difference: "type read" says that it is a function; set -x and,
with set -T, a DEBUG or RETURN trap show the function's lines; in an ERR trap
$BASH_COMMAND is "return"; and messages of the shell's own, as about a bad option or
variable, give the function's line. In zsh a variable that is "private" cannot be read
into by a function, WARN_CREATE_GLOBAL and WARN_NESTED_VAR warn about others, and with
POSIX_BUILTINS the IFS before a call lasts. Each read costs a call of a function.

In fish and ksh only the PATH is changed, and the names are sock-read and
sock-write: in fish "read" is reserved, and ksh gives a function neither the IFS
that stands before its call nor the variables of its caller. No shell gets a
function "exec": it would be an error in some, and in the others "exec 3<file"
would not last. Where sh is a ksh or zsh, it is treated like ksh.

The links are in libexec/sockbox of the prefix that sockbox is installed in, or
else in $XDG_CACHE_HOME/sockbox/bin (~/.cache/sockbox/bin), which is made; where that
cannot be, the code that is printed is "false", so that the eval fails too. The
folder comes last in PATH: "ping", "command write" and what else the system has
stay the system's; what it has not is ours.

For all shells that you use, the line goes into ~/.bashrc or ~/.zshrc, in fish
"sockbox init fish | source" into ~/.config/fish/config.fish. In a script it stands
at the top; a script that cannot be changed gets it from a file that the variable
BASH_ENV names. Where you type, in bash and zsh, TAB behind "read" and "write"
offers the buffers.`,
	Example: `
eval "$(sockbox init bash)"
sockbox init sh >/tmp/init.sh && . /tmp/init.sh
echo 'eval "$(sockbox init bash)"' >/tmp/env.bash && BASH_ENV=/tmp/env.bash bash -c 'sock-read --help'`,
	Exits: map[int]string{1: "the folder for links cannot be made, or is not safe"},
	Setup: func(fs *pflag.FlagSet) cli.Run { return initialize },
}

func initialize(_ context.Context, c *cli.Call) error {
	code, err := initCode(c)
	if err != nil {
		code = "false\n" // or eval "$(sockbox init bash)" would have succeeded
	}
	_, writeErr := io.WriteString(c.Stdout, code)
	return cmp.Or(err, writeErr)
}

func initCode(c *cli.Call) (string, error) {
	shell, err := c.One("SHELL")
	if err != nil {
		return "", err
	}
	define, builtin := [2]string{"function read", "function write"}, "builtin" // no alias is looked for after "function"
	quote := quotePOSIX
	code := initPath + initFunctions
	switch shell {
	case "bash":
		code += initBash
	case "zsh":
		code += initZsh
	case "sh":
		define, builtin = [2]string{"read()", "write()"}, "command"
		code = initPath + initAliases + "if [ -z \"${KSH_VERSION-}${ZSH_VERSION-}\" ]; then\n" + initFunctions + "fi\n" + initAliasesAgain
	case "ksh":
		code = initKsh + initPath
	case "fish":
		quote = quoteFish
		code = initFish
	default:
		return "", cli.Usagef("%q is not a shell that is known here: bash, zsh, sh, fish or ksh", shell)
	}
	home, err := c.Home()
	if err != nil {
		return "", err
	}
	return strings.NewReplacer(
		"SHELL", shell, "LINKS", quote(home.Links), "PROGRAM", quote(home.Program),
		"DEFINE_READ", define[0], "DEFINE_WRITE", define[1], "BUILTIN", builtin,
		// As buffer.DirPath finds it, at each call: a script may change the variables.
		"RUNDIR", "${SOCKBOX_DIR:-${XDG_RUNTIME_DIR:-/tmp/sockbox-"+strconv.Itoa(os.Getuid())+"}${XDG_RUNTIME_DIR:+/sockbox}}",
	).Replace("# sockbox init SHELL: what it does is in sockbox-init(1).\n" + code), nil
}

func quotePOSIX(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func quoteFish(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

const initPath = `case :${PATH-}: in
*:LINKS:*) ;;
*) PATH=${PATH:+$PATH:}LINKS ;;
esac
`

// The functions set no variable and declare none: what the builtin sets are its caller's. The status
// of the builtin is returned behind "||", so that an ERR trap sees it once, where the function is
// called. Status 3 says that the socket was a killed daemon's, or is a service's, and that nothing was read or
// written: it is then as if it had not been there. Another user's socket, such as one that waits for us in /tmp, is
// not looked at. A case is the cheapest test that all the shells have, and the only
// one that "read -r line" pays.
const initFunctions = `DEFINE_READ {
	case $# in
	1)
		if [ -S "RUNDIR/$1/sock" ] && [ -O "RUNDIR/$1/sock" ]; then
			PROGRAM read --if-live "$1" && return
			case $? in
			3) ;;
			*) return ;;
			esac
		fi
		;;
	esac
	BUILTIN read "$@" || return
}
DEFINE_WRITE {
	if [ -S "RUNDIR/${1-}/sock" ] && [ -O "RUNDIR/${1-}/sock" ]; then
		PROGRAM write --if-live "$@" && return
		case $? in
		3) ;;
		*) return ;;
		esac
	fi
	command write "$@" || return
}
`

// Where functions are defined as "read()", an alias of that name would be put in the place of the
// word, which is an error of syntax. So aliases are away meanwhile.
const initAliases = `_sockbox_read= _sockbox_write=
if alias read >/dev/null 2>&1; then _sockbox_read=$(alias read); unalias read; fi
if alias write >/dev/null 2>&1; then _sockbox_write=$(alias write); unalias write; fi
`

const initAliasesAgain = `if [ -n "$_sockbox_read" ]; then eval "alias ${_sockbox_read#alias }"; fi
if [ -n "$_sockbox_write" ]; then eval "alias ${_sockbox_write#alias }"; fi
unset _sockbox_read _sockbox_write
`

// Where somebody types, TAB behind a bare "read" or "write" offers the buffers. The completions are
// loaded when they are first asked for.
const initBash = `case $- in
*i*)
	_sockbox_first() {
		declare -F _sockbox >/dev/null || eval "$(PROGRAM help --completion bash)"
		_sockbox "$@"
	}
	complete -F _sockbox_first read write
	;;
esac
`

const initZsh = `if [[ -o interactive ]] && (( $+functions[compdef] )); then
	(( $+functions[_sockbox] )) || eval "$(PROGRAM help --completion zsh)"
	compdef _sockbox read write
fi
`

const initKsh = `# No functions: one has neither the IFS before its call nor its caller's variables. Say sock-read and sock-write.
`

const initFish = `# No functions: read is reserved. Say sock-read and sock-write.
contains -- LINKS $PATH; or set -gx PATH $PATH LINKS
`
