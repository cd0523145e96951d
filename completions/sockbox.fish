# Completion of sockbox for fish, made by 'sockbox help --completion fish'.

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

complete -c sockbox -f

# sockbox
complete -c sockbox -n '__sockbox_at options sockbox --' -l list -d 'print the names of the applets'
complete -c sockbox -n '__sockbox_at options sockbox --' -l install -d 'make a link for every applet, in the folder that follows'
complete -c sockbox -n '__sockbox_at options sockbox --' -l force -d 'with --install, put links in the place of other files'
complete -c sockbox -n '__sockbox_at options sockbox --' -l version -d 'print the version'
complete -c sockbox -n '__sockbox_at options sockbox --' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options sockbox --' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a bind-input -d 'Listen, and keep what comes in a buffer'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a bind-output -d 'Connect, and send what is written to a buffer'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a read -d 'Take a message out of a buffer'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a write -d 'Put a message into a buffer'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a path -d 'Tell the FIFO by which a shell uses a buffer'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a list -d 'Show the buffers and how they are'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a close -d 'End buffers, and wait until they are gone'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a trigger-wait -d 'Wait until somebody who has the key triggers'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a trigger-send -d 'Release somebody who waits with the same key'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a pool -d 'Take what the daemons of other hosts print, in a buffer for each'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a master -d 'Run a directory of daemons, and hand their output to a pool'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a init -d 'Make a shell at home with buffers'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a www -d 'Serve files and scripts to web browsers'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a ping -d 'Ask hosts whether they are there, and how long that takes'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a wait -d 'Wait for ports, buffers, files and processes'
complete -c sockbox -n '__sockbox_at 0 sockbox --' -a help -d 'Tell how an applet is used'

# bind-input
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l connect -d 'dial HOST PORT and receive, in place of listening'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l retry -d 'with --connect: start though the peer is not up yet'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l connect-timeout -x -d 'with --connect: give up a try after TIME'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l once -d 'end when the first peer that sent something has gone and all is read'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -s m -l max-conns -x -d 'serve at most N peers at once; others wait'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l idle-timeout -x -d 'let go of a peer that is silent for TIME (0 = never)'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l crlf -d 'a line may end in \r\n, of which neither is part of the message'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l any-port -d 'allow ports outside 1024-49151'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l bind -x -d 'listen on ADDR only, not on every address'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l allow -x -d 'take only peers in CIDR (may be given more than once)'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l mode -x -d 'make a unix socket or FIFO with the permissions MODE, in octal'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l frame -x -a 'line nul netstring datagram' -d 'where a message ends: at a newline, a zero byte, as a netstring says, or with its datagram (default line; datagram for udp)'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l capacity -x -d 'hold at most SIZE bytes'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l overflow -x -a 'block drop-oldest drop-newest' -d 'what a full buffer does with one more message'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l max-message -x -d 'cut messages longer than SIZE bytes into pieces'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l print-port -d 'print "PID PORT" in place of the PID'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l key -x -d 'only links, which are encrypted, and prove KEY'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l linger -x -d 'at the end, wait at most TIME without progress for messages to be delivered'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -s f -l foreground -d 'stay in the foreground and print no PID'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l fifo -d 'let "sockbox path NAME" tell a FIFO, by which a shell reads or writes without starting a program'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -s v -l verbose -d 'log peers as they come and go'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 1 bind-input -- --connect-timeout -m --max-conns --idle-timeout --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -a '(__sockbox_endpoints) (__fish_print_hostnames)'

# bind-output
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l link -d 'send to a bind-input, which acknowledges each message when it has it'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l listen -d 'take one peer at a time at PORT, in place of dialling'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l retry -d 'start though the peer is not up yet'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l connect-timeout -x -d 'give up a try after TIME'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l source -x -d 'dial from ADDR[:PORT] of this machine'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l crlf -d 'end each line in \r\n'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l any-port -d 'allow ports outside 1024-49151'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l bind -x -d 'listen on ADDR only, not on every address'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l allow -x -d 'take only peers in CIDR (may be given more than once)'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l mode -x -d 'make a unix socket or FIFO with the permissions MODE, in octal'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l frame -x -a 'line nul netstring datagram' -d 'where a message ends: at a newline, a zero byte, as a netstring says, or with its datagram (default line; datagram for udp)'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l capacity -x -d 'hold at most SIZE bytes'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l overflow -x -a 'block drop-oldest drop-newest' -d 'what a full buffer does with one more message'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l max-message -x -d 'cut messages longer than SIZE bytes into pieces'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l print-port -d 'print "PID PORT" in place of the PID'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l key -x -d 'only links, which are encrypted, and prove KEY'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l linger -x -d 'at the end, wait at most TIME without progress for messages to be delivered'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -s f -l foreground -d 'stay in the foreground and print no PID'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -l fifo -d 'let "sockbox path NAME" tell a FIFO, by which a shell reads or writes without starting a program'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -s v -l verbose -d 'log peers as they come and go'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 1 bind-output -- --connect-timeout --source --bind --allow --mode --frame --capacity --overflow --max-message --key --linger' -a '(__fish_print_hostnames) (__sockbox_endpoints)'

# read
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -s w -l wait -d 'wait for a message'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -s t -l timeout -x -d 'wait at most TIME; 0 = do not wait'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -s n -l count -x -d 'take up to COUNT messages that are there; with --wait or --timeout, until so many have come'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -s a -l all -d 'take all that is there now'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -s f -l follow -d 'take everything, as it comes, until the buffer is closed'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -s 0 -l null -d 'end each message with a zero byte, not a newline'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -s N -l no-newline -d 'end messages with nothing'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -l peek -d 'leave the messages in the buffer'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -l json -d 'print objects, one a line: seq, time, peer, and message or (when it is not UTF-8) msg_b64'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -l raw -d 'pass control sequences to a terminal as they are'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -l if-live -d 'say nothing when there is no such buffer: the status, 3, tells'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options read sock-read -- -t --timeout -n --count' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 0 read sock-read -- -t --timeout -n --count' -a '(__sockbox_names)'

# write
complete -c sockbox -n '__sockbox_at options write sock-write -- -t --timeout' -s E -l literal -d 'read no escapes'
complete -c sockbox -n '__sockbox_at options write sock-write -- -t --timeout' -s 0 -l null -d 'standard input: a message ends at a zero byte'
complete -c sockbox -n '__sockbox_at options write sock-write -- -t --timeout' -l whole -d 'standard input: all of it is one message'
complete -c sockbox -n '__sockbox_at options write sock-write -- -t --timeout' -l flush -d 'wait until the peer'\''s kernel has acknowledged it'
complete -c sockbox -n '__sockbox_at options write sock-write -- -t --timeout' -l no-wait -d 'do not wait for room: exit 1 when the buffer is full'
complete -c sockbox -n '__sockbox_at options write sock-write -- -t --timeout' -s t -l timeout -x -d 'wait at most TIME for room, and with --flush for the peer (0 = as long as it takes)'
complete -c sockbox -n '__sockbox_at options write sock-write -- -t --timeout' -l progress -d 'standard input: show size, rate and time left, on a terminal'
complete -c sockbox -n '__sockbox_at options write sock-write -- -t --timeout' -l if-live -d 'say nothing when there is no such buffer: the status, 3, tells'
complete -c sockbox -n '__sockbox_at options write sock-write -- -t --timeout' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options write sock-write -- -t --timeout' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 0 write sock-write -- -t --timeout' -a '(__sockbox_names)'

# path
complete -c sockbox -n '__sockbox_at options path --' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options path --' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 0 path --' -a '(__sockbox_names)'

# list
complete -c sockbox -n '__sockbox_at options list -- --interval' -s q -l quiet -d 'names only, one a line'
complete -c sockbox -n '__sockbox_at options list -- --interval' -l json -d 'one object a line'
complete -c sockbox -n '__sockbox_at options list -- --interval' -l watch -d 'show it again and again'
complete -c sockbox -n '__sockbox_at options list -- --interval' -l interval -x -d 'with --watch, every TIME'
complete -c sockbox -n '__sockbox_at options list -- --interval' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 0+ list -- --interval' -a '(__sockbox_names)'

# close
complete -c sockbox -n '__sockbox_at options close --' -l all -d 'close every buffer'
complete -c sockbox -n '__sockbox_at options close --' -l now -d 'do not wait for messages to be delivered'
complete -c sockbox -n '__sockbox_at options close --' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options close --' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 0+ close --' -a '(__sockbox_names)'

# trigger-wait
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -s t -l timeout -x -d 'wait at most TIME'
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -s n -l count -x -d 'wait for N senders, who may come at any time'
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -l data -d 'print what each sender passes, in a line of its own, as they come'
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -l plain -d 'take the key in clear from anywhere, not from this machine only'
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -l print-port -d 'print the port first, when senders can connect'
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -s v -l verbose -d 'tell who connects, and what is wrong with them'
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -l any-port -d 'allow ports outside 1024-49151'
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -l bind -x -d 'listen on ADDR only, not on every address'
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -l allow -x -d 'take only peers in CIDR (may be given more than once)'
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -l mode -x -d 'make a unix socket or FIFO with the permissions MODE, in octal'
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options trigger-wait -- -t --timeout -n --count --bind --allow --mode' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 1 trigger-wait -- -t --timeout -n --count --bind --allow --mode' -a '(__sockbox_endpoints)'

# trigger-send
complete -c sockbox -n '__sockbox_at options trigger-send -- --retry --connect-timeout --data --source' -l retry -x -d 'try for TIME while nobody waits there; 0 = once'
complete -c sockbox -n '__sockbox_at options trigger-send -- --retry --connect-timeout --data --source' -l connect-timeout -x -d 'give up a try after TIME'
complete -c sockbox -n '__sockbox_at options trigger-send -- --retry --connect-timeout --data --source' -l data -x -d 'pass TEXT, which "trigger-wait --data" prints'
complete -c sockbox -n '__sockbox_at options trigger-send -- --retry --connect-timeout --data --source' -l source -x -d 'dial from ADDR[:PORT] of this machine'
complete -c sockbox -n '__sockbox_at options trigger-send -- --retry --connect-timeout --data --source' -l plain -d 'send the key in clear'
complete -c sockbox -n '__sockbox_at options trigger-send -- --retry --connect-timeout --data --source' -s v -l verbose -d 'tell of tries that failed'
complete -c sockbox -n '__sockbox_at options trigger-send -- --retry --connect-timeout --data --source' -l any-port -d 'allow ports outside 1024-49151'
complete -c sockbox -n '__sockbox_at options trigger-send -- --retry --connect-timeout --data --source' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options trigger-send -- --retry --connect-timeout --data --source' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 1 trigger-send -- --retry --connect-timeout --data --source' -a '(__fish_print_hostnames) (__sockbox_endpoints)'

# pool
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l data-ports -x -d 'open the daemons'\'' ports in LO-HI, as for a firewall'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l single-port -d 'take the daemons'\'' messages at PORT too'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l keep -d 'stay after a master'\''s end, for more of them'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l print -d 'print all that comes, each message as "NAME: MESSAGE"'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l discard -d 'leave without waiting for readers'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l max-daemons -x -d 'take at most N daemons at a time'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l capacity -x -d 'hold at most SIZE bytes of each daemon'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l max-message -x -d 'cut messages longer than SIZE bytes into pieces'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l resume-timeout -x -d 'give a daemon up whose link has been broken for TIME'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l grace -x -d 'when asked to end, let readers finish for TIME'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l plain -d 'take clear lines from anywhere, not from this machine only'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l print-port -d 'print the port first, when masters can connect'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l json -d 'report in objects, one a line, and a last one with the sums'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l joblog -x -a '(__fish_complete_path)' -d 'write a line for each daemon that has ended to FILE'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -s v -l verbose -d 'tell who connects, and of links that break'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l any-port -d 'allow ports outside 1024-49151'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l bind -x -d 'listen on ADDR only, not on every address'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l allow -x -d 'take only peers in CIDR (may be given more than once)'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -l mode -x -d 'make a unix socket or FIFO with the permissions MODE, in octal'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 1 pool -- --data-ports --max-daemons --capacity --max-message --resume-timeout --grace --joblog --bind --allow --mode' -a '(__sockbox_endpoints)'

# master
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l only -x -d 'run files that match GLOB only (may be given more than once)'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l watch -d 'go on: files that come into DIR join, those that go are stopped'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l restart -x -a 'never on-failure always' -d 'start a daemon again that has ended'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l stderr -x -a 'pass forward discard' -d 'show the daemons'\'' standard error here, at the pool, or not at all'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l pty -d 'give daemons a terminal to print to'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l host -x -a '(__sockbox_names)' -d 'let the pool call this host NAME (default its own name)'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l grace -x -d 'between TERM and KILL let TIME pass'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l linger -x -d 'when asked to end, wait at most TIME without progress for messages to be delivered'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l retry -x -d 'try for TIME while there is no pool; 0 = once'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l connect-timeout -x -d 'give up a try after TIME'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l resume-timeout -x -d 'stop a daemon whose link has been broken for TIME'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l capacity -x -d 'hold at most SIZE bytes of each daemon that the pool has not taken'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l max-message -x -d 'cut lines longer than SIZE bytes into pieces'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l plain -d 'speak the reference'\''s clear lines'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l json -d 'report in objects, one a line, and a last one with the sums'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l joblog -x -a '(__fish_complete_path)' -d 'write a line for each daemon that has ended to FILE'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -s v -l verbose -d 'tell what is left out, and of links that break'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -l any-port -d 'allow ports outside 1024-49151'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 1 master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -a '(__fish_print_hostnames) (__sockbox_endpoints)'
complete -c sockbox -n '__sockbox_at 2 master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -a '(__fish_complete_directories)'
complete -c sockbox -n '__sockbox_at 3 master -- --only --restart --stderr --host --grace --linger --retry --connect-timeout --resume-timeout --capacity --max-message --joblog' -a '(__fish_complete_directories)'

# init
complete -c sockbox -n '__sockbox_at options init --' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options init --' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 0 init --' -a 'bash zsh sh fish ksh'

# www
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -s l -l listen -x -a '(__sockbox_endpoints)' -d 'take connections at ENDPOINT (may be given more than once)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l udp-anywhere -d 'answer datagrams that come from other machines, and may name anybody as their sender'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l print-port -d 'print the port of each, in a line of its own, when it can be used'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l mode -x -d 'make a unix socket with the permissions MODE, in octal'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l host -x -d 'serve another folder to who asks for NAME: NAME=DIR (may be given more than once)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l index -x -a '(__sockbox_names)' -d 'a file NAME stands for its folder'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l listing -d 'show what is in a folder that has no index'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l zip -d 'let a folder be had as an archive: /folder/?zip'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l spa -d 'answer a path that leads nowhere, and has no extension, with the index of DIR'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l well-known -d 'serve the folder .well-known too (RFC 8615)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l mime -x -d 'files that end in EXT are of a media type: EXT=TYPE (may be given more than once)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l max-age -x -d 'let caches keep files for TIME without asking; 0 = they have to ask'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l header -x -d 'say this with every answer: NAME=VALUE (may be given more than once)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l error-page -x -d 'answer with a file of DIR in place of a status, as 404=/lost.html: STATUS=PATH (may be given more than once)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l auth -x -a '(__fish_complete_path)' -d 'ask for a name and a password that are in FILE'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l realm -x -d 'what browsers show when they ask for the password: TEXT'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l upload -d 'with --auth: let files be sent'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l cgi -x -d 'run programs below the path PREFIX (may be given more than once)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l php -x -a '(__fish_complete_command)' -d 'run files that end in .php by PROGRAM, or unix:PATH or HOST:PORT of a FastCGI server'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l cgi-timeout -x -d 'end a script that says nothing for TIME'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l cgi-max -x -d 'run at most N scripts at once; others wait'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l cgi-env -x -d 'give scripts a variable: NAME=VALUE (may be given more than once)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l cgi-pass-auth -d 'let scripts see the Authorization field'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l log -x -a '(__fish_complete_path)' -d 'write a line for each request to FILE; - is stdout'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l log-format -x -a 'combined json' -d 'what a line of the log looks like'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l allow -x -d 'answer only peers in CIDR (may be given more than once)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l deny -x -d 'do not answer peers in CIDR (may be given more than once)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l proxy-in -x -d 'connections from CIDR begin with a PROXY header'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l trust -x -d 'believe proxies in CIDR for whom they ask'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l trust-field -x -a 'x-forwarded-for forwarded' -d 'the field in which they tell it'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l tls-cert -x -a '(__fish_complete_path)' -d 'speak TLS, with the certificate and its chain in FILE (PEM); a changed file is read again'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l tls-key -x -a '(__fish_complete_path)' -d 'the certificate'\''s private key is in FILE (default: with the certificate)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l tls-client-ca -x -a '(__fish_complete_path)' -d 'take only clients with a certificate that one in FILE has signed'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l self-signed -d 'speak TLS with a certificate made now, and tell its fingerprint'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l h2c -d 'take HTTP/2 without TLS'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l header-timeout -x -d 'cut off a request whose head is not here after TIME'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l body-timeout -x -d 'cut off a request whose body is not here after TIME'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l idle-timeout -x -d 'cut off a peer that neither sends nor takes anything for TIME'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -s t -l timeout -x -d 'cut off a request that is not answered in TIME (0 = never)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l max-header -x -d 'refuse a request whose head is longer than SIZE bytes'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l max-body -x -d 'refuse a request whose body is longer than SIZE bytes'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -s m -l max-conns -x -d 'hold at most N connections at once; others wait'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l per-source -x -d 'hold at most N connections from one address (IPv6: one /64)'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l linger -x -d 'at the end, let requests that are under way go on for TIME'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -l grace -x -d 'between TERM and KILL of a script let TIME pass'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -s v -l verbose -d 'tell who is cut off or may not come in'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 0 www -- -l --listen --mode --host --index --mime --max-age --header --error-page --auth --realm --cgi --php --cgi-timeout --cgi-max --cgi-env --log --log-format --allow --deny --proxy-in --trust --trust-field --tls-cert --tls-key --tls-client-ca --header-timeout --body-timeout --idle-timeout -t --timeout --max-header --max-body -m --max-conns --per-source --linger --grace' -a '(__fish_complete_directories)'

# ping
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s c -l count -x -d 'ask each host N times; 0 = on and on'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s i -l interval -x -d 'ask a host again after TIME; below 2 ms, and 0 = as fast as it answers, for root only'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s W -l timeout -x -d 'an answer is late after TIME (default 4s; with several hosts 2s)'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s w -l deadline -x -d 'end after TIME, whatever has come'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s s -l size -x -d 'send N bytes of data, at most 65507'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s t -l ttl -x -d 'let requests pass N routers, 1 to 255 (default the system'\''s)'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s I -l interface -x -a '(__sockbox_names)' -d 'ask from an address, or through an interface: ADDR|NAME'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s 4 -l ipv4 -d 'IPv4 only'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s 6 -l ipv6 -d 'IPv6 only'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s f -l file -x -a '(__fish_complete_path)' -d 'ask the hosts in FILE too, one a line (- = stdin)'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s g -l generate -x -d 'ask the hosts of CIDR|FIRST-LAST too (may be given more than once)'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -l rate -x -d 'send at most N requests a second, to all hosts together'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -l tcp -x -d 'connect to PORT, in place of ICMP'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -l wait -d 'end when every host has answered'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -l until-down -d 'end when a host has stopped answering'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s q -l quiet -d 'print the summary only'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s n -l numeric -d 'print addresses, not names'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s D -l unix-time -d 'print the time in front of each line, in seconds since 1970'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -l timestamps -d 'print the time in front of each line, as RFC 3339 has it'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s a -l audible -d 'ring the bell for each answer'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -l percentiles -d 'have percentiles and jitter in the summary'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -l json -d 'print objects, one a line'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -l buffer -x -a '(__sockbox_names)' -d 'hold the buffer NAME, and put the results into it'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -l foreground -d 'with --buffer: stay in the foreground and print no PID'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s v -l verbose -d 'tell which kind of socket is used, and what does not fit'
complete -c sockbox -n '__sockbox_at options ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 0+ ping -- -c --count -i --interval -W --timeout -w --deadline -s --size -t --ttl -I --interface -f --file -g --generate --rate --tcp --buffer' -a '(__fish_print_hostnames)'

# wait
complete -c sockbox -n '__sockbox_at options wait -- -t --timeout --connect-timeout' -s a -l all -d 'wait for all of them, which is the default'
complete -c sockbox -n '__sockbox_at options wait -- -t --timeout --connect-timeout' -l any -d 'wait for one of them'
complete -c sockbox -n '__sockbox_at options wait -- -t --timeout --connect-timeout' -l gone -d 'wait until they are no more'
complete -c sockbox -n '__sockbox_at options wait -- -t --timeout --connect-timeout' -s t -l timeout -x -d 'wait at most TIME; 0 = look once'
complete -c sockbox -n '__sockbox_at options wait -- -t --timeout --connect-timeout' -l connect-timeout -x -d 'give up one try to connect after TIME'
complete -c sockbox -n '__sockbox_at options wait -- -t --timeout --connect-timeout' -l print -d 'print each TARGET when it is reached'
complete -c sockbox -n '__sockbox_at options wait -- -t --timeout --connect-timeout' -s v -l verbose -d 'tell what is reached, and why something is not yet'
complete -c sockbox -n '__sockbox_at options wait -- -t --timeout --connect-timeout' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options wait -- -t --timeout --connect-timeout' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 0+ wait -- -t --timeout --connect-timeout' -a '(__sockbox_targets)'

# help
complete -c sockbox -n '__sockbox_at options help -- --completion' -l man -d 'print the man page, for man -l -'
complete -c sockbox -n '__sockbox_at options help -- --completion' -l completion -x -a 'bash zsh fish' -d 'print the completions for a SHELL: bash, zsh or fish'
complete -c sockbox -n '__sockbox_at options help -- --completion' -l table -d 'print the table of applets in Markdown'
complete -c sockbox -n '__sockbox_at options help -- --completion' -l statuses -d 'print the table of exit statuses in Markdown'
complete -c sockbox -n '__sockbox_at options help -- --completion' -s q -l quiet -d 'no messages, only the exit status'
complete -c sockbox -n '__sockbox_at options help -- --completion' -s h -l help -d 'show this help'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a bind-input -d 'Listen, and keep what comes in a buffer'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a bind-output -d 'Connect, and send what is written to a buffer'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a read -d 'Take a message out of a buffer'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a write -d 'Put a message into a buffer'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a path -d 'Tell the FIFO by which a shell uses a buffer'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a list -d 'Show the buffers and how they are'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a close -d 'End buffers, and wait until they are gone'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a trigger-wait -d 'Wait until somebody who has the key triggers'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a trigger-send -d 'Release somebody who waits with the same key'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a pool -d 'Take what the daemons of other hosts print, in a buffer for each'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a master -d 'Run a directory of daemons, and hand their output to a pool'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a init -d 'Make a shell at home with buffers'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a www -d 'Serve files and scripts to web browsers'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a ping -d 'Ask hosts whether they are there, and how long that takes'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a wait -d 'Wait for ports, buffers, files and processes'
complete -c sockbox -n '__sockbox_at 0 help -- --completion' -a help -d 'Tell how an applet is used'

complete -c bind-input -w 'sockbox bind-input'
complete -c bind-output -w 'sockbox bind-output'
complete -c sock-read -w 'sockbox read'
complete -c sock-write -w 'sockbox write'
complete -c trigger-wait -w 'sockbox trigger-wait'
complete -c trigger-send -w 'sockbox trigger-send'
