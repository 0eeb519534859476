"""The GraphQL server: one module a dataset, on Strawberry and Starlette."""
