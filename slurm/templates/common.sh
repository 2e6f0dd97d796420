# Signals may come at any time, also before the program starts: whoever has no trap then ends at once and for good.
warned=""
cancelled=""
child=""
trap 'warned=${warned:-$SECONDS}; [ -z "$child" ] || kill -USR1 "$child" 2> /dev/null' USR1
trap 'cancelled=yes; [ -z "$child" ] || kill -TERM "$child" 2> /dev/null' TERM

# supervise COMMAND...: runs it, passes the warning signal on, and takes its exit status as its own. If it is not over
# {{grace}} s after the warning, it is left to `finish`, which ends it: there must be time to ask for a requeue.
supervise() {
    [ -z "$cancelled" ] || return 143
    [ -z "$warned" ] || return 75
    "$@" &
    child=$!
    # A signal between the check above and here was passed to nobody.
    [ -z "$cancelled$warned" ] || kill -TERM "$child" 2> /dev/null
    while kill -0 "$child" 2> /dev/null; do
        sleep 1 &
        wait $!
        if [ -n "$warned" ] && [ $((SECONDS - warned)) -ge {{grace}} ]; then
            return 75
        fi
    done
    wait "$child"
}

# finish STATUS: ends this task, or sends it back into the queue if something is left to do (75), or if it failed, as
# long as it has not been restarted {{restarts}} times. Wrong usage (2) does not become right by repetition, and who
# cancels a job does not want it back.
finish() {
    trap "" USR1
    trap - TERM
    if [ -n "$cancelled" ] && [ "$1" -eq 0 ]; then
        set -- 143  # srun may say 0 of what it was told to end
    fi
    if [ -z "$cancelled" ] && [ "$1" -ne 0 ] && [ "$1" -ne 2 ] && [ "$restarts" -lt {{restarts}} ]; then
        echo "status $1: restart $((restarts + 1)) of {{restarts}} will go on where this one stopped"
        if requeue; then
            sleep 600  # until the batch system ends this script
        fi
    fi
    echo "$(date -u +%FT%TZ) job $job ends with status $1"
    exit "$1"
}

echo "$(date -u +%FT%TZ) job $job on $where, restarted $restarts times"
