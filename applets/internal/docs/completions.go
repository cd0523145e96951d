package docs

import (
	"fmt"
	"slices"
	"strings"

	"sockbox/applets/internal/cli"
)

// The scripts of the three shells are alike: a fixed part that finds its way along the line, as
// the applets do (the first operand ends the options), and a part made from the table, with the
// options of each applet and what may stand at each place. What there is to offer for a word such
// as NAME or HOST is in the fixed part.
//
// Links are completed too, but only those whose names are ours.

// Completion is the completion script for a shell.
func (Pages) Completion(shell string, all []*cli.Applet) (string, error) {
	switch shell {
	case "bash":
		return bash(all), nil
	case "zsh":
		return zsh(all), nil
	case "fish":
		return fish(all), nil
	}
	return "", fmt.Errorf("%s: no completion for this shell", shell)
}

// places are the kinds to offer for each operand, with "..." after the last one when it goes on.
func places(a *cli.Applet) []string {
	all := operands(a)
	var out []string
	for _, o := range all {
		kind := strings.Join(offered(all, o), "|")
		if kind == "" {
			kind = "-"
		}
		if o.many {
			kind += "..."
		}
		out = append(out, kind)
	}
	return out
}

// calls are the names that call a.
func calls(a *cli.Applet) []string { return append([]string{a.Name}, a.Aliases...) }

// quote makes s one word of any of the shells. Backslashes do not occur in what we quote, where
// fish would need other care.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// completed are the applets with an entry in the scripts: sockbox itself too.
func completed(all []*cli.Applet) []*cli.Applet {
	out := shown(all)
	if top := find(all, "sockbox"); top != nil {
		out = slices.Insert(out, 0, top)
	}
	return out
}

const bashFixed = `# Completion of sockbox for bash, made by 'sockbox help --completion bash'.
# shellcheck shell=bash disable=SC2207 # mapfile is not in the bash of macOS

# _sockbox_offer KINDS: add to COMPREPLY what goes on from $cur and is one of KINDS (NAME|HOST...).
_sockbox_offer() {
    local IFS=$' \t\n' kind rest=$1
    while [[ -n $rest ]]; do
        kind=${rest%%"|"*}
        rest=${rest#"$kind"}
        rest=${rest#"|"}
        case $kind in
        NAME) COMPREPLY+=($(compgen -W "$(sockbox list -q 2>/dev/null)" -- "$cur")) ;;
        APPLET) COMPREPLY+=($(compgen -W "$_sockbox_applets" -- "$cur")) ;;
        HOST) COMPREPLY+=($(compgen -A hostname -- "$cur")) ;;
        PROGRAM) COMPREPLY+=($(compgen -c -- "$cur")) ;;
        DIR) _sockbox_files -d "" "$cur" ;;
        FILE | CONFIG) _sockbox_files -f "" "$cur" ;;
        ENDPOINT | LISTEN | DEST | SOCKET)
            case $cur in
            unix:* | fifo:*) _sockbox_files -f "${cur%%:*}:" "${cur#*:}" ;;
            *)
                COMPREPLY+=($(compgen -W 'tcp:// udp:// tls:// unix: fifo: fd:' -- "$cur"))
                compopt -o nospace 2>/dev/null
                ;;
            esac
            ;;
        TARGET)
            case $cur in
            unix:* | file:*) _sockbox_files -f "${cur%%:*}:" "${cur#*:}" ;;
            buffer:*) COMPREPLY+=($(compgen -P buffer: -W "$(sockbox list -q 2>/dev/null)" -- "${cur#*:}")) ;;
            *)
                COMPREPLY+=($(compgen -W 'buffer: file: pid: tcp:// unix:' -- "$cur"))
                compopt -o nospace 2>/dev/null
                ;;
            esac
            ;;
        [a-z]*) COMPREPLY+=($(compgen -W "$kind" -- "$cur")) ;;
        esac
    done
}

# _sockbox_files -f|-d PREFIX PATH
_sockbox_files() {
    local IFS=$'\n'
    COMPREPLY+=($(compgen "$1" -P "$2" -- "$3"))
    compopt -o filenames 2>/dev/null
}

# _sockbox_applet NAME FIRST: complete the last of words, which has those of applet NAME from FIRST on.
_sockbox_applet() {
    local opts='' valued=' ' places='' kind='' ended='' word letter i j n=0
    _sockbox_spec "$1" || return 0
    for ((i = $2; i < ${#words[@]} - 1; i++)); do
        word=${words[i]}
        if [[ -n $kind ]]; then
            kind=
        elif [[ -n $ended || $word != -?* ]]; then
            ended=1 n=$((n + 1))
        elif [[ $word == -- ]]; then
            ended=1
        elif [[ $word == --* ]]; then
            [[ $valued == *" $word="* ]] && kind=${valued#*" $word="} && kind=${kind%% *}
        else
            for ((j = 1; j < ${#word}; j++)); do
                letter=-${word:j:1}
                [[ $valued == *" $letter="* ]] || continue
                ((j == ${#word} - 1)) && kind=${valued#*" $letter="} && kind=${kind%% *}
                break
            done
        fi
    done
    if [[ -n $kind ]]; then
        _sockbox_offer "$kind"
    elif [[ -z $ended && $cur == --*=* ]]; then
        word=${cur%%=*} cur=${cur#*=}
        [[ $valued == *" $word="* ]] && kind=${valued#*" $word="} && _sockbox_offer "${kind%% *}"
        COMPREPLY=("${COMPREPLY[@]/#/$word=}")
        cur=$word=$cur
    elif [[ -z $ended && $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$opts" -- "$cur"))
    else
        for word in $places; do
            if [[ $word == *... ]] || ((n-- == 0)); then
                _sockbox_offer "${word%...}"
                break
            fi
        done
    fi
}

_sockbox() {
    local IFS=$' \t\n' cur word rest=$COMP_LINE breaks='' i
    local -a words=()
    COMPREPLY=()

    # Bash cuts words at : and = too, as in unix:/run/x. Where no blank was, put them together.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if ((i == 0)) || [[ $rest == [[:blank:]]* ]]; then
            rest=${rest#"${rest%%[![:blank:]]*}"}
            words+=("$word")
        else
            words[${#words[@]} - 1]+=$word
        fi
        rest=${rest#"$word"}
    done
    cur=${words[${#words[@]} - 1]}

    word=${words[0]##*/}
    if [[ $word != sockbox ]]; then
        _sockbox_applet "$word" 1
    elif ((${#words[@]} == 2)) || [[ ${words[1]} == -* ]]; then
        case " ${words[*]} " in
        *" --install "*) _sockbox_files -d "" "$cur" ;;
        esac
        [[ ${#COMPREPLY[@]} -gt 0 ]] || _sockbox_applet sockbox 1
    else
        _sockbox_applet "${words[1]}" 2
    fi

    # Readline takes only what comes after the last break.
    [[ $COMP_WORDBREAKS == *:* ]] && breaks+=:
    [[ $COMP_WORDBREAKS == *=* ]] && breaks+='='
    if [[ -n $breaks ]]; then
        word=${cur%"${cur##*["$breaks"]}"}
        COMPREPLY=("${COMPREPLY[@]#"$word"}")
    fi
}

`

func bash(all []*cli.Applet) string {
	var b strings.Builder
	b.WriteString(bashFixed)
	fmt.Fprintf(&b, "_sockbox_applets=%s\n\n", quote(strings.Join(visibleNames(all), " ")))
	b.WriteString("# _sockbox_spec NAME: the options of an applet, which of them take what, and its operands.\n")
	b.WriteString("_sockbox_spec() {\n    case $1 in\n")
	for _, a := range completed(all) {
		var opts, valued []string
		for _, o := range options(a) {
			opts = append(opts, "--"+o.long)
			if o.takesNext() {
				for _, name := range o.names() {
					valued = append(valued, name+"="+o.kind())
				}
			}
		}
		fmt.Fprintf(&b, "    %s)\n", strings.Join(calls(a), " | "))
		fmt.Fprintf(&b, "        opts=%s\n", quote(strings.Join(opts, " ")))
		if len(valued) > 0 {
			fmt.Fprintf(&b, "        valued=%s\n", quote(" "+strings.Join(valued, " ")+" "))
		}
		fmt.Fprintf(&b, "        places=%s\n", quote(strings.Join(places(a), " ")))
		b.WriteString("        ;;\n")
	}
	b.WriteString("    *) return 1 ;;\n    esac\n}\n\n")
	fmt.Fprintf(&b, "complete -F _sockbox %s\n", strings.Join(append([]string{"sockbox"}, links(all)...), " "))
	return b.String()
}

func visibleNames(all []*cli.Applet) []string {
	var out []string
	for _, a := range shown(all) {
		out = append(out, a.Name)
	}
	return out
}

const zshFixed = `
# Completion of sockbox for zsh, made by 'sockbox help --completion zsh'.

# _sockbox_offer KIND...: add what may stand for each KIND.
_sockbox_offer() {
    local kind
    local -a list
    for kind; do
        case $kind in
        NAME)
            list=(${(f)"$(sockbox list -q 2>/dev/null)"})
            compadd -a list
            ;;
        APPLET) _describe applet _sockbox_applets ;;
        HOST) _hosts ;;
        PROGRAM) _command_names -e ;;
        DIR) _files -/ ;;
        FILE | CONFIG) _files ;;
        ENDPOINT | LISTEN | DEST | SOCKET)
            if compset -P 'unix:' || compset -P 'fifo:'; then
                _files
            else
                list=(tcp:// udp:// tls:// unix: fifo: fd:)
                compadd -S '' -a list
            fi
            ;;
        TARGET)
            if compset -P 'unix:' || compset -P 'file:'; then
                _files
            elif compset -P 'buffer:'; then
                list=(${(f)"$(sockbox list -q 2>/dev/null)"})
                compadd -a list
            else
                list=(buffer: file: pid: tcp:// unix:)
                compadd -S '' -a list
            fi
            ;;
        [a-z]*)
            list=($kind)
            compadd -a list
            ;;
        esac
    done
}

_sockbox() {
    local name=${words[1]:t}
    if [[ $name == sockbox ]] && (( CURRENT > 2 )) && [[ $words[2] != -* ]]; then
        shift words
        (( CURRENT-- ))
        name=$words[1]
    elif [[ $name == sockbox && ${words[(I)--install]} -gt 0 ]] && (( CURRENT > 2 )); then
        _files -/
        return
    fi
    _sockbox_applet $name
}

`

func zsh(all []*cli.Applet) string {
	var b strings.Builder
	fmt.Fprintf(&b, "#compdef %s\n", strings.Join(append([]string{"sockbox"}, links(all)...), " "))
	b.WriteString(zshFixed)
	b.WriteString("typeset -ga _sockbox_applets=(\n")
	for _, a := range shown(all) {
		fmt.Fprintf(&b, "    %s\n", quote(a.Name+":"+a.Short))
	}
	b.WriteString(")\n\n# _sockbox_applet NAME: complete the words of an applet, which begin with its name.\n")
	b.WriteString("_sockbox_applet() {\n    case $1 in\n")
	for _, a := range completed(all) {
		fmt.Fprintf(&b, "    %s)\n        _arguments -s -S -A '-*'", strings.Join(calls(a), " | "))
		for _, o := range options(a) {
			fmt.Fprintf(&b, " \\\n            %s", zshOption(o))
		}
		for i, place := range places(a) {
			at := fmt.Sprint(i + 1)
			if cut := strings.TrimSuffix(place, "..."); cut != place {
				place, at = cut, "*"
			}
			message := strings.Join(operands(a)[i].words, " or ")
			fmt.Fprintf(&b, " \\\n            %s", quote(at+":"+message+":"+zshAction(place)))
		}
		b.WriteString("\n        ;;\n")
	}
	b.WriteString("    esac\n}\n\n")
	b.WriteString("if [[ $zsh_eval_context[-1] == loadautofunc ]]; then\n    _sockbox \"$@\"\nelse\n")
	fmt.Fprintf(&b, "    compdef _sockbox %s\nfi\n", strings.Join(append([]string{"sockbox"}, links(all)...), " "))
	return b.String()
}

// zshOption is the option as _arguments is told it: '(-w --wait)'{-w,--wait}'[wait for a message]'.
func zshOption(o option) string {
	text := strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`, `:`, `\:`).Replace(o.text)
	rest := "[" + text + "]"
	long := "--" + o.long
	if o.value != "" {
		long += "="
		colon := ":"
		if o.optional {
			colon, long = "::", "--"+o.long+"=-"
		}
		rest += colon + strings.ToLower(o.value) + ":" + zshAction(o.kind())
	}
	again := "" // an option that counts or collects may come again
	if o.repeats {
		again = "*"
	}
	if o.short == "" {
		return quote(again + long + rest)
	}
	short := "-" + o.short
	if o.value != "" && !o.optional {
		short += "+"
	}
	group := again
	if !o.repeats {
		group = fmt.Sprintf("(-%s --%s)", o.short, o.long)
	}
	return fmt.Sprintf("%s{%s,%s}%s", quote(group), short, long, quote(rest))
}

// zshAction calls what offers kinds. The blank in front keeps _arguments from adding words.
func zshAction(kinds string) string {
	return " _sockbox_offer " + strings.ReplaceAll(kinds, "|", " ")
}

const fishFixed = `# Completion of sockbox for fish, made by 'sockbox help --completion fish'.

# __sockbox_at COUNT NAME... -- OPTION...: whether an applet of these names is called and has
# COUNT operands so far (COUNT+: or more), where the OPTIONs take the next word.
function __sockbox_at
    set -l want $argv[1]
    set -l split (contains -i -- -- $argv)
    set -l names $argv[2..(math $split - 1)]
    set -l valued $argv[(math $split + 1)..-1]
    set -l words (commandline -opc)
    set words[1] (string replace -r '.*/' '' -- $words[1])
    if test "$words[1]" = sockbox
        if set -q words[2]; and not string match -q -- '-*' $words[2]
            set -e words[1]
        end
    end
    contains -- "$words[1]" $names; or return 1
    set -e words[1]

    set -l count 0
    set -l value no
    set -l ended no
    for word in $words
        if test $value = yes
            set value no
        else if test $ended = yes; or not string match -qr -- '^-.' $word
            set ended yes
            set count (math $count + 1)
        else if test "$word" = --
            set ended yes
        else if contains -- $word $valued
            set value yes
        else if not string match -q -- '--*' $word; and contains -- -(string sub -s -1 -- $word) $valued
            set value yes
        end
    end
    if test $want = options
        test $ended = no
    else if string match -q '*+' $want
        test $count -ge (string trim -c + $want)
    else
        test $count -eq $want
    end
end

function __sockbox_names
    sockbox list -q 2>/dev/null
end

function __sockbox_endpoints
    set -l typed (commandline -ct)
    switch "$typed"
        case 'unix:*' 'fifo:*'
            set -l kind (string split -m 1 : $typed)
            printf "$kind[1]:%s\n" (__fish_complete_path $kind[2])
        case '*'
            printf '%s\n' tcp:// udp:// tls:// unix: fifo: fd:
    end
end

function __sockbox_targets
    set -l typed (commandline -ct)
    switch "$typed"
        case 'unix:*' 'file:*'
            set -l kind (string split -m 1 : $typed)
            printf "$kind[1]:%s\n" (__fish_complete_path $kind[2])
        case '*'
            printf '%s\n' buffer:(__sockbox_names) file: pid: tcp:// unix:
    end
end

`

func fish(all []*cli.Applet) string {
	var b strings.Builder
	b.WriteString(fishFixed)
	b.WriteString("complete -c sockbox -f\n")
	for _, a := range completed(all) {
		fmt.Fprintf(&b, "\n# %s\n", a.Name)
		list := options(a)
		var valued []string
		for _, o := range list {
			if o.takesNext() {
				valued = append(valued, o.names()...)
			}
		}
		at := func(count string) string {
			words := append([]string{"__sockbox_at", count}, calls(a)...)
			return quote(strings.Join(append(append(words, "--"), valued...), " "))
		}
		for _, o := range list {
			fmt.Fprintf(&b, "complete -c sockbox -n %s", at("options"))
			if o.short != "" {
				fmt.Fprintf(&b, " -s %s", o.short)
			}
			fmt.Fprintf(&b, " -l %s", o.long)
			if o.takesNext() {
				b.WriteString(" -x")
				if offer := fishOffer(o.kind(), nil); offer != "" {
					fmt.Fprintf(&b, " -a %s", quote(offer))
				}
			}
			fmt.Fprintf(&b, " -d %s\n", quote(o.text))
		}
		for i, place := range places(a) {
			count := fmt.Sprint(i)
			if cut := strings.TrimSuffix(place, "..."); cut != place {
				place, count = cut, count+"+"
			}
			if place == "APPLET" {
				for _, other := range shown(all) {
					fmt.Fprintf(&b, "complete -c sockbox -n %s -a %s -d %s\n", at(count), other.Name, quote(other.Short))
				}
				continue
			}
			if offer := fishOffer(place, all); offer != "" {
				fmt.Fprintf(&b, "complete -c sockbox -n %s -a %s\n", at(count), quote(offer))
			}
		}
	}
	b.WriteString("\n")
	for _, a := range shown(all) {
		for _, name := range calls(a) {
			if Ours(name) {
				fmt.Fprintf(&b, "complete -c %s -w 'sockbox %s'\n", name, a.Name)
			}
		}
	}
	return b.String()
}

// fishOffer is the argument of -a that offers kinds; "" where there is nothing to offer.
func fishOffer(kinds string, all []*cli.Applet) string {
	var out []string
	for kind := range strings.SplitSeq(kinds, "|") {
		switch kind {
		case "NAME":
			out = append(out, "(__sockbox_names)")
		case "HOST":
			out = append(out, "(__fish_print_hostnames)")
		case "PROGRAM":
			out = append(out, "(__fish_complete_command)")
		case "DIR":
			out = append(out, "(__fish_complete_directories)")
		case "FILE", "CONFIG":
			out = append(out, "(__fish_complete_path)")
		case "ENDPOINT", "LISTEN", "DEST", "SOCKET":
			out = append(out, "(__sockbox_endpoints)")
		case "TARGET":
			out = append(out, "(__sockbox_targets)")
		default:
			if strings.ToLower(kind) == kind && kind != "-" {
				out = append(out, kind)
			}
		}
	}
	return strings.Join(out, " ")
}
