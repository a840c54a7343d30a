Feature: Run Script
  A script in JavaScript is given arguments, an environment and a standard input,
  and what it writes or its exit code is the output of its task.

  Scenario: Run the script of the specification
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: script, version: '1.0.0' }
    do:
      - runScript:
          run:
            script:
              language: js
              stdin: "Hello Workflow"
              environment:
                foo: bar
              arguments:
                - hello
              code: |
                // Reading Input from STDIN
                import { readFileSync } from 'node:fs';
                const stdin = readFileSync(process.stdin.fd, 'utf8');
                console.log('stdin > ', stdin)

                // Reading from argv
                const [_, __, arg] = process.argv;
                console.log('arg > ', arg)

                // Reading from env
                const foo = process.env.foo;
                console.log('env > ', foo)
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    "stdin >  Hello Workflow\narg >  hello\nenv >  bar\n"
    """

  Scenario: Give a script values, and take a value from it
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: script, version: '1.0.0' }
    do:
      - total:
          run:
            script:
              language: javascript
              stdin: '${ .lines }'
              arguments: [ '${ .currency }', '${ .lines | length }', literal ]
              environment: { RATE: '${ .rate }', LIST: '${ [.currency] }', NONE: '${ null }', NUMBER: 7 }
              code: |
                import { readFileSync } from 'node:fs'
                const lines = JSON.parse(readFileSync(0, 'utf8'))
                const sum = lines.reduce((all, l) => all + l.price * l.count, 0)
                const { RATE, LIST, NONE, NUMBER } = process.env
                console.log({ sum: sum * RATE, args: process.argv.slice(2), LIST, NONE, NUMBER })
          output: { as: '${ fromjson }' }
      - half: { set: { half: '${ .sum / 2 }', args: '${ .args }', env: '${ [.LIST, .NONE, .NUMBER] }' } }
    """
    And given the workflow input is:
    """yaml
    currency: EUR
    rate: 1.5
    lines: [ { price: 10, count: 2 }, { price: 4, count: 5 } ]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    half: 30
    args: [ EUR, '2', literal ]
    env: [ '["EUR"]', '', '7' ]
    """

  Scenario: Return each part of what a script gives
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: script, version: '1.0.0' }
    do:
      - all:
          fork:
            branches:
              - out: { run: { return: stdout, script: { language: js, code: "console.log('a'); console.error('b')" } } }
              - err: { run: { return: stderr, script: { language: js, code: "console.log('a'); console.error('b')" } } }
              - code: { run: { return: code, script: { language: js, code: process.exit(3) } } }
              - whole: { run: { return: all, await: true, script: { language: js, code: "console.log('a'); console.error('b'); process.exit(3)" } } }
              - nothing: { run: { return: none, script: { language: js, code: "console.log('a')" } } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    - "a\n"
    - "b\n"
    - 3
    - { code: 3, stdout: "a\n", stderr: "b\n" }
    - null
    """

  Scenario: Catch what a script throws
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: script, version: '1.0.0' }
    do:
      - attempt:
          try:
            - broken:
                run:
                  script:
                    language: js
                    code: |
                      const order = {}
                      console.log(order.lines.length)
          catch:
            errors: { with: { type: 'https://open-workflow-specification.org/spec/1.0.0/errors/runtime', status: 500 } }
            as: err
            do:
              - tell: { set: { detail: '${ $err.detail }', at: '${ $err.instance }' } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    detail: "line 2: TypeError: cannot read property 'length' of undefined"
    at: /do/0/attempt/try/0/broken
    """

  Scenario: Fail by an exit code that nobody asks for
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: script, version: '1.0.0' }
    do:
      - broken:
          run: { script: { language: js, code: "console.error('no more'); process.exit(3)" } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/runtime
    status: 500
    title: Runtime error
    detail: 'the script exited with code 3: no more'
    instance: /do/0/broken
    """

  Scenario: Retry a script
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: script, version: '1.0.0' }
    do:
      - attempt:
          try:
            - broken: { run: { script: { language: js, code: throw new Error('again') } } }
          catch:
            retry: { delay: PT1M, limit: { attempt: { count: 2 } } }
            do:
              - over: { set: { over: true } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    over: true
    """
    And the workflow should have taken 2m

  Scenario: Run scripts in a loop, with a wait between them
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: script, version: '1.0.0' }
    do:
      - count:
          for: { each: n, in: '${ [1, 2, 3] }' }
          do:
            - double:
                run:
                  script:
                    language: js
                    arguments: [ '${ . }', '${ $n }' ]
                    code: |
                      globalThis.runs = (globalThis.runs ?? 0) + 1
                      const [, , sum, n] = process.argv
                      process.stdout.write(String(Number(sum) + n * runs))
                output: { as: '${ tonumber }' }
            - rest: { wait: PT1M }
    """
    And given the workflow input is:
    """yaml
    0
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    6
    """
    And the workflow should have taken 3m
