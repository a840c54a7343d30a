Feature: gRPC
  Calls of a service that a .proto describes. greeter.example has the service
  greet.v1.Greeter.

  Scenario: A method answers
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: greet, version: '1.0.0' }
    do:
      - greet:
          call: grpc
          with:
            proto: { endpoint: https://shop.example/greet.proto }
            service: { name: greet.v1.Greeter, host: greeter.example, port: 5011 }
            method: Hello
            arguments: { name: '${ .user }' }
      - again: { set: { greeting: '${ .text }', times: '${ .times }' } }
    """
    And given the workflow input is:
    """yaml
    user: Ada
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    greeting: Hello Ada
    times: 0
    """

  Scenario: A service that is away for a while is asked again
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: away, version: '1.0.0' }
    do:
      - patient:
          try:
            - greet: { call: grpc, with: { proto: { endpoint: https://shop.example/greet.proto }, service: { name: greet.v1.Greeter, host: greeter.example, port: 5011 }, method: Away } }
          catch: { errors: { with: { status: 503 } }, retry: { delay: PT5S, limit: { attempt: { count: 2 } } } }
    """
    When the workflow is executed
    Then the workflow should complete with output:
    """yaml
    text: back
    times: 0
    """

  Scenario: An argument that the method does not have
    Given a workflow with definition:
    """yaml
    document: { dsl: '1.0.3', namespace: own, name: wrong, version: '1.0.0' }
    do:
      - greet: { call: grpc, with: { proto: { endpoint: https://shop.example/greet.proto }, service: { name: greet.v1.Greeter, host: greeter.example, port: 5011 }, method: Hello, arguments: { nam: x } } }
    """
    When the workflow is executed
    Then the workflow should fault with error:
    """yaml
    type: https://open-workflow-specification.org/spec/1.0.0/errors/validation
    status: 400
    instance: /do/0/greet
    """
