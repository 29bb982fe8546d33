package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	regofmt "github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/tester"
)

const testTimeout = 30 * time.Second

// test runs every rule `test_*`, as `opa test` does. No test at all is a failure.
func test(args arguments) error {
	ctx := context.Background()
	loaded, err := loader.NewFileLoader().
		WithRegoVersion(ast.RegoV1).WithProcessAnnotation(true).Filtered(args.paths, args.ignored)
	if err != nil {
		return err
	}
	store, err := loaded.Store()
	if err != nil {
		return err
	}
	failed, total := 0, 0
	err = storage.Txn(ctx, store, storage.WriteParams, func(txn storage.Transaction) error {
		compiler := ast.NewCompiler().
			WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn)).
			WithEnablePrintStatements(true).
			WithUseTypeCheckAnnotations(true)
		results, err := tester.NewRunner().
			SetDefaultRegoVersion(ast.RegoV1).
			SetCompiler(compiler).
			SetStore(store).
			SetModules(loaded.ParsedModules()).
			CapturePrintOutput(true).
			SetTimeout(testTimeout).
			RunTests(ctx, txn)
		if err != nil {
			return err
		}
		counted := make(chan *tester.Result)
		go func() {
			defer close(counted)
			for result := range results {
				total++
				if !result.Pass() && !result.Skip {
					failed++
				}
				counted <- result
			}
		}()
		return tester.PrettyReporter{Output: os.Stdout, Verbose: args.verbose}.Report(counted)
	})
	switch {
	case err != nil:
		return err
	case total == 0:
		return errors.New("no test was found")
	case failed > 0:
		return fmt.Errorf("%d of %d tests failed", failed, total)
	}
	return nil
}

// check compiles a tree with OPA's strict mode: unused variables and imports,
// shadowed names and the like are errors.
func check(args arguments) error {
	modules := map[string]string{}
	err := eachModule(args, func(path string, text []byte) error {
		modules[path] = string(text)
		return nil
	})
	if err != nil {
		return err
	}
	parsed := map[string]*ast.Module{}
	for path, text := range modules {
		options := ast.ParserOptions{RegoVersion: ast.RegoV1, ProcessAnnotation: true}
		module, err := ast.ParseModuleWithOpts(path, text, options)
		if err != nil {
			return err
		}
		parsed[path] = module
	}
	compiler := ast.NewCompiler().WithStrict(true).WithUseTypeCheckAnnotations(true)
	compiler.Compile(parsed)
	if compiler.Failed() {
		return compiler.Errors
	}
	fmt.Printf("%d modules compile\n", len(parsed))
	return nil
}

// format names the modules that `opa fmt` would change, or changes them.
func format(args arguments) error {
	changed := []string{}
	err := eachModule(args, func(path string, text []byte) error {
		options := regofmt.Opts{RegoVersion: ast.RegoV1}
		formatted, err := regofmt.SourceWithOpts(path, text, options)
		if err != nil {
			return err
		}
		if bytes.Equal(formatted, text) {
			return nil
		}
		changed = append(changed, path)
		if args.write {
			return os.WriteFile(path, formatted, 0o644)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, path := range changed {
		fmt.Println(path)
	}
	if len(changed) > 0 && !args.write {
		return fmt.Errorf("%d modules are not formatted; run again with --write", len(changed))
	}
	return nil
}

func eachModule(args arguments, do func(path string, text []byte) error) error {
	found := 0
	for _, root := range args.paths {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			depth := strings.Count(strings.TrimPrefix(path, root), string(filepath.Separator))
			info, err := entry.Info()
			if err != nil {
				return err
			}
			if args.ignored(path, info, depth) {
				if entry.IsDir() {
					return filepath.SkipDir
				}
				return nil
			}
			if entry.IsDir() || filepath.Ext(path) != ".rego" {
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			found++
			return do(path, text)
		})
		if err != nil {
			return err
		}
	}
	if found == 0 {
		return errors.New("no .rego file was found")
	}
	return nil
}
