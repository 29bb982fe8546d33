// Command oracle asks the Open Policy Agent's own library what a policy says, so
// that Provost's engine has something to be compared with.
//
//	oracle eval                              JSON lines in, JSON lines out
//	oracle bench                             the same, answered with times
//	oracle test  PATH... [--ignore GLOB]...  the Rego tests of a tree
//	oracle check PATH... [--ignore GLOB]...  strict compilation of a tree
//	oracle fmt   PATH... [--ignore GLOB]... [--write]
//	oracle examples PATH...                  policies against their own examples
//	oracle version
//
// It reads no network and writes no file, except `fmt --write`. The exit code is
// 0 if all is well, 1 if a test, check or format fails, 2 for wrong usage.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/open-policy-agent/opa/v1/version"
)

const usage = `usage: oracle eval < REQUESTS.jsonl > ANSWERS.jsonl
       oracle bench < REQUESTS.jsonl > TIMES.jsonl
       oracle test  PATH... [--ignore GLOB]... [--verbose]
       oracle check PATH... [--ignore GLOB]...
       oracle fmt   PATH... [--ignore GLOB]... [--write]
       oracle examples PATH...
       oracle version`

var errUsage = errors.New("wrong usage")

// arguments of the subcommands that read a tree.
type arguments struct {
	paths   []string
	ignore  []string
	verbose bool
	write   bool
}

func parse(args []string) (arguments, error) {
	var out arguments
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--ignore":
			i++
			if i == len(args) {
				return out, fmt.Errorf("%w: --ignore needs a pattern", errUsage)
			}
			out.ignore = append(out.ignore, args[i])
		case strings.HasPrefix(arg, "--ignore="):
			out.ignore = append(out.ignore, strings.TrimPrefix(arg, "--ignore="))
		case arg == "--verbose" || arg == "-v":
			out.verbose = true
		case arg == "--write" || arg == "-w":
			out.write = true
		case strings.HasPrefix(arg, "-"):
			return out, fmt.Errorf("%w: unknown option %q", errUsage, arg)
		default:
			out.paths = append(out.paths, arg)
		}
	}
	if len(out.paths) == 0 {
		return out, fmt.Errorf("%w: at least one path is needed", errUsage)
	}
	for _, pattern := range out.ignore {
		if _, err := filepath.Match(pattern, "x"); err != nil {
			return out, fmt.Errorf("%w: --ignore %q: %w", errUsage, pattern, err)
		}
	}
	return out, nil
}

// ignored is the loader's filter: true leaves the file or folder out.
func (a arguments) ignored(_ string, info fs.FileInfo, depth int) bool {
	for _, pattern := range a.ignore {
		if match, _ := filepath.Match(pattern, info.Name()); match && depth >= 1 {
			return true
		}
	}
	return false
}

func run(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	if args[0] == "eval" {
		if len(args) > 1 {
			return fmt.Errorf("%w: eval takes no arguments", errUsage)
		}
		return evaluateLines(os.Stdin, os.Stdout)
	}
	if args[0] == "bench" {
		if len(args) > 1 {
			return fmt.Errorf("%w: bench takes no arguments", errUsage)
		}
		return benchLines(os.Stdin, os.Stdout)
	}
	if args[0] == "version" {
		fmt.Println(version.Version)
		return nil
	}
	commands := map[string]func(arguments) error{"test": test, "check": check, "fmt": format, "examples": examples}
	command, known := commands[args[0]]
	if !known {
		return fmt.Errorf("%w: unknown command %q", errUsage, args[0])
	}
	parsed, err := parse(args[1:])
	if err != nil {
		return err
	}
	return command(parsed)
}

func main() {
	err := run(os.Args[1:])
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "oracle: %v\n%s\n", err, usage)
		os.Exit(2)
	default:
		fmt.Fprintf(os.Stderr, "oracle: %v\n", err)
		os.Exit(1)
	}
}
