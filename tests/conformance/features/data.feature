Feature: Data Flow of our own
  Conditions, the context, and what shapes inputs and outputs.

  Scenario: Export to the context
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: context, version: '1.0.0' }
    do:
      - one: { set: { a: 1 }, export: { as: '${ $context + { one: .a } }' } }
      - sleep: { wait: PT1M }
      - two: { set: { b: 2 }, export: { as: '${ $context + { two: .b } }' } }
      - all: { set: '${ $context }' }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    one: 1
    two: 2
    """

  Scenario: Skip a task
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: skip, version: '1.0.0' }
    do:
      - no: { if: '${ .n > 5 }', set: { n: 100 } }
      - yes: { if: '${ .n < 5 }', set: { n: '${ .n + 1 }' } }
    """
    And given the workflow input is:
    """yaml
    n: 1
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    n: 2
    """
    And no should be skipped
    And yes should complete

  Scenario: Shape the input and the output of all
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: shape, version: '1.0.0' }
    input: { from: '${ .order }' }
    output: { as: { total: '${ .sum }' } }
    do:
      - add: { input: { from: '${ .items }' }, set: { n: '${ add }' }, output: { as: { sum: '${ .n }', of: '${ $input | length }' } } }
    """
    And given the workflow input is:
    """yaml
    order: { items: [ 1, 2, 3 ] }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    total: 6
    """

  Scenario: Loop while
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: while, version: '1.0.0' }
    do:
      - loop: { for: { each: n, in: '${ .list }', at: i }, while: '${ (.sum // 0) < 4 }', do: [ { add: { set: { sum: '${ (.sum // 0) + $n }', last: '${ $i }' } } } ] }
    """
    And given the workflow input is:
    """yaml
    list: [ 1, 2, 3, 4, 5 ]
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    sum: 6
    last: 2
    """

  Scenario: Leave a list, and the whole run
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: leave, version: '1.0.0' }
    do:
      - inner:
          do:
            - a: { set: { a: 1 }, then: exit }
            - b: { set: { b: 2 } }
      - c: { set: { a: '${ .a }', c: 3 }, then: end }
      - d: { set: { d: 4 } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    a: 1
    c: 3
    """
    And a should run before c
    And c should run last
