# Completion of jail for fish. `jail complete` says what may come; its first line says of which kind it is.
function __jail_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (command jail complete -- $words[2..-1] 2>/dev/null)
    switch $lines[1]
        case program
            # The program's own words.
            set -l at (contains -i -- $lines[2] $words)
            complete -C (string join ' ' -- (string escape -- $words[$at..-2]) $words[-1])
            return
        case files
            __fish_complete_path (string replace -r '^--[^=]*=' '' -- $words[-1])
        case commands
            __fish_complete_command
    end
    string join \n -- $lines[2..-1]
end
complete -c jail -f -a '(__jail_complete)'
