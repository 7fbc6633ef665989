#compdef jail
# Completion of jail for zsh. `jail complete` says what may come; its first line says of which kind it is.
_jail() {
    local -a lines described begun plain
    lines=("${(@f)$(command jail complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    local kind=$lines[1] line
    shift lines
    if [[ $kind == program ]]; then
        # The program's own words.
        local at=${words[(i)$lines[1]]}
        words=("${(@)words[at,-1]}")
        ((CURRENT -= at - 1))
        _normal
        return
    fi
    for line in $lines; do
        [[ $line == *$'\t'* ]] || { plain+=("$line"); continue }
        local word=${line%%$'\t'*} entry="${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}"
        # A flag's value follows without a space.
        [[ $word == *= ]] && begun+=("$entry") || described+=("$entry")
    done
    local found=1
    (($#described)) && _describe -V jail described && found=0
    (($#begun)) && _describe -V jail begun -S '' && found=0
    (($#plain)) && compadd -S '' -- $plain && found=0
    case $kind in
    files)
        # Behind --flag= the file is a part of the word.
        compset -P '*='
        _files && found=0
        ;;
    commands) _command_names -e && found=0 ;;
    esac
    return found
}
compdef _jail jail
