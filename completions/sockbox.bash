# Completion of sockbox for bash, made by 'sockbox help --completion bash'.
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

_sockbox_applets='bind-input bind-output read write path list close trigger-wait trigger-send pool master exec activate relay init www ping wait help'

# _sockbox_spec NAME: the options of an applet, which of them take what, and its operands.
_sockbox_spec() {
    case $1 in
    sockbox)
        opts='--list --install --force --version --quiet --help'
        places='APPLET ARG...'
        ;;
    bind-input)
        opts='--connect --retry --connect-timeout --once --max-conns --idle-timeout --crlf --any-port --bind --allow --mode --frame --capacity --overflow --max-message --print-port --key --linger --foreground --fifo --verbose --quiet --help'
        valued=' --connect-timeout=TIME -m=N --max-conns=N --idle-timeout=TIME --bind=ADDR --allow=CIDR --mode=MODE --frame=line|nul|netstring|datagram --capacity=SIZE --overflow=block|drop-oldest|drop-newest --max-message=SIZE --key=KEY --linger=TIME '
        places='- PORT|ENDPOINT|HOST PORT'
        ;;
    bind-output)
        opts='--link --listen --retry --connect-timeout --source --crlf --any-port --bind --allow --mode --frame --capacity --overflow --max-message --print-port --key --linger --foreground --fifo --verbose --quiet --help'
        valued=' --connect-timeout=TIME --source=ADDR[:PORT] --bind=ADDR --allow=CIDR --mode=MODE --frame=line|nul|netstring|datagram --capacity=SIZE --overflow=block|drop-oldest|drop-newest --max-message=SIZE --key=KEY --linger=TIME '
        places='- HOST|ENDPOINT PORT'
        ;;
    read | sock-read)
        opts='--wait --timeout --count --all --follow --null --no-newline --peek --json --raw --if-live --quiet --help'
        valued=' -t=TIME --timeout=TIME -n=COUNT --count=COUNT '
        places='NAME'
        ;;
    write | sock-write)
        opts='--literal --null --whole --flush --no-wait --timeout --progress --if-live --quiet --help'
        valued=' -t=TIME --timeout=TIME '
        places='NAME MESSAGE...'
        ;;
    path)
        opts='--quiet --help'
        places='NAME'
        ;;
    list)
        opts='--quiet --json --watch --interval --help'
        valued=' --interval=TIME '
        places='NAME...'
        ;;
    close)
        opts='--all --now --quiet --help'
        places='NAME...'
        ;;
    trigger-wait)
        opts='--timeout --count --data --plain --print-port --verbose --any-port --bind --allow --mode --quiet --help'
        valued=' -t=TIME --timeout=TIME -n=N --count=N --bind=ADDR --allow=CIDR --mode=MODE '
        places='KEY PORT|ENDPOINT'
        ;;
    trigger-send)
        opts='--retry --connect-timeout --data --source --plain --verbose --any-port --quiet --help'
        valued=' --retry=TIME --connect-timeout=TIME --data=TEXT --source=ADDR[:PORT] '
        places='KEY HOST|ENDPOINT PORT'
        ;;
    pool)
        opts='--data-ports --single-port --keep --print --discard --max-daemons --capacity --max-message --resume-timeout --grace --plain --print-port --json --joblog --verbose --any-port --bind --allow --mode --quiet --help'
        valued=' --data-ports=LO-HI --max-daemons=N --capacity=SIZE --max-message=SIZE --resume-timeout=TIME --grace=TIME --joblog=FILE --bind=ADDR --allow=CIDR --mode=MODE '
        places='KEY PORT|ENDPOINT'
        ;;
    master)
        opts='--only --watch --restart --stderr --pty --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --plain --json --joblog --verbose --any-port --quiet --help'
        valued=' --only=GLOB --restart=never|on-failure|always --stderr=pass|forward|discard --host=NAME --grace=TIME --linger=TIME --retry=TIME --connect-timeout=TIME --resume-timeout=TIME --capacity=SIZE --max-message=SIZE --joblog=FILE '
        places='KEY HOST|ENDPOINT PORT|DIR DIR'
        ;;
    exec | sockexec | sockexec.client)
        opts='--version --debug --backlog --mode --max-conns --timeout --kill-after --queue --linger-output --max-request --strict --allow-uid --allow --allow-program --limit --user --chdir --env --key --tls-cert --tls-key --tls-client-ca --self-signed --call --pty --no-stdin --tls-ca --tls-name --tls-pin --tls-insecure --tls-client-cert --tls-client-key --quiet --help'
        valued=' -q=N --backlog=N -M=MODE --mode=MODE -m=N --max-conns=N -t=TIME --timeout=TIME -k=TIME --kill-after=TIME --linger-output=TIME --max-request=SIZE --allow-uid=USER --allow=CIDR --allow-program=PATTERN --limit=LIMIT=N --user=USER --chdir=DIR --env=NAME=VALUE --key=KEY --tls-cert=FILE --tls-key=FILE --tls-client-ca=FILE --tls-ca=FILE --tls-name=NAME --tls-pin=FINGERPRINT --tls-client-cert=FILE --tls-client-key=FILE '
        places='SOCKET PROGRAM ARG...'
        ;;
    activate)
        opts='--mode --fdname --accept --wait --stderr-socket --workers --broadcast --hang-up --pty --max-message --user --chdir --env --name --allow --max-conns --per-source --rate --timeout --kill-timeout --linger --backlog --socket-mode --group --print-port --verbose --quiet --help'
        valued=' --mode=listen|upstart|inetd|worker --fdname=NAMES --workers=N --max-message=SIZE -u=USER[:GROUP] --user=USER[:GROUP] --chdir=DIR --env=NAME=VALUE --name=NAME --allow=CIDR -m=N --max-conns=N --per-source=N --rate=N[/TIME] -t=TIME --timeout=TIME --kill-timeout=TIME --linger=TIME --backlog=N --socket-mode=MODE --group=GROUP '
        places='ENDPOINT|FILE|DIR...'
        ;;
    relay)
        opts='--daemon --name --print-port --echo --source --interface --connect-timeout --broadcast --reply-to --balance --wait-backend --allow --deny --max-conns --max-sessions --idle-timeout --half-closed-timeout --udp-timeout --rate --frame --max-datagram --proxy-in --proxy-out --tls-listen --tls-dest --tls-cert --tls-key --tls-client-ca --self-signed --tls-ca --tls-name --tls-pin --tls-insecure --tls-client-cert --tls-client-key --key --dump --tee --mode --linger --verbose --quiet --help'
        valued=' --name=NAME --source=ADDR[:PORT] --interface=NAME --connect-timeout=TIME --reply-to=ENDPOINT --balance=first|round-robin|least --wait-backend=TIME --allow=CIDR --deny=CIDR -m=N --max-conns=N --max-sessions=N --idle-timeout=TIME --half-closed-timeout=TIME --udp-timeout=TIME --rate=RATE --frame=raw|line|nul|netstring|len16 --max-datagram=N --proxy-in=CIDR --proxy-out=v1|v2 --tls-cert=FILE --tls-key=FILE --tls-client-ca=FILE --tls-ca=FILE --tls-name=NAME --tls-pin=FINGERPRINT --tls-client-cert=FILE --tls-client-key=FILE --key=KEY --tee=NAME --mode=MODE --linger=TIME '
        places='LISTEN DEST...'
        ;;
    init)
        opts='--quiet --help'
        places='bash|zsh|sh|fish|ksh'
        ;;
    www)
        opts='--listen --udp-anywhere --print-port --mode --host --index --listing --zip --spa --well-known --mime --max-age --header --error-page --auth --realm --upload --cgi --php --cgi-timeout --cgi-max --cgi-env --cgi-pass-auth --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --self-signed --h2c --header-timeout --body-timeout --idle-timeout --timeout --max-header --max-body --max-conns --per-source --linger --grace --verbose --quiet --help'
        valued=' -l=ENDPOINT --listen=ENDPOINT --mode=MODE --host=NAME=DIR --index=NAME --mime=EXT=TYPE --max-age=TIME --header=NAME=VALUE --error-page=STATUS=PATH --auth=FILE --realm=TEXT --cgi=PREFIX --php=PROGRAM --cgi-timeout=TIME --cgi-max=N --cgi-env=NAME=VALUE --log=FILE --log-format=combined|json --allow=CIDR --deny=CIDR --proxy-in=CIDR --trust=CIDR --trust-field=x-forwarded-for|forwarded --tls-cert=FILE --tls-key=FILE --tls-client-ca=FILE --header-timeout=TIME --body-timeout=TIME --idle-timeout=TIME -t=TIME --timeout=TIME --max-header=SIZE --max-body=SIZE -m=N --max-conns=N --per-source=N --linger=TIME --grace=TIME '
        places='DIR'
        ;;
    ping)
        opts='--count --interval --timeout --deadline --size --ttl --interface --ipv4 --ipv6 --file --generate --rate --tcp --wait --until-down --quiet --numeric --unix-time --timestamps --audible --percentiles --json --buffer --foreground --verbose --help'
        valued=' -c=N --count=N -i=TIME --interval=TIME -W=TIME --timeout=TIME -w=TIME --deadline=TIME -s=N --size=N -t=N --ttl=N -I=ADDR|NAME --interface=ADDR|NAME -f=FILE --file=FILE -g=CIDR|FIRST-LAST --generate=CIDR|FIRST-LAST --rate=N --tcp=PORT --buffer=NAME '
        places='HOST...'
        ;;
    wait)
        opts='--all --any --gone --timeout --connect-timeout --print --verbose --quiet --help'
        valued=' -t=TIME --timeout=TIME --connect-timeout=TIME '
        places='TARGET...'
        ;;
    help)
        opts='--man --completion --table --statuses --quiet --help'
        valued=' --completion=bash|zsh|fish '
        places='APPLET'
        ;;
    *) return 1 ;;
    esac
}

complete -F _sockbox sockbox bind-input bind-output sock-read sock-write trigger-wait trigger-send sockexec sockexec.client
