// Mercurius with graphql-jit and resolvers by hand: a prepared statement a field, loaders for what is nested.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import Fastify from "fastify";
import mercurius from "mercurius";
import pg from "pg";

pg.types.setTypeParser(pg.types.builtins.INT8, Number);
const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  max: Number(process.env.POOL_SIZE),
  options: "-c jit=off",
});

function statement(name, files = [name]) {
  const text = files.map((file) => readFileSync(join(process.env.SQL_DIR, `${file}.sql`), "utf8")).join("\n");
  return async (...values) => (await pool.query({ name, text, values })).rows;
}

const entityByKey = statement("entity");
const entityPage = statement("page");
const recordPage = statement("records");
const influencesOf = statement("influences");
const roadmapOf = statement("roadmap", ["roadmap_parts", "roadmap"]);

const schema = `
  type Date { year: Float! }
  type Entity {
    id: ID!
    kind: String!
    name: String
    description: String
    isStub: Boolean!
    start: Date
    influences(first: Int! = 20): InfluenceConnection!
  }
  type InfluenceConnection { edges: [InfluenceEdge!]! }
  type InfluenceEdge { type: String! confidence: Float! node: Entity! }
  type PageInfo { hasNextPage: Boolean! endCursor: String }
  type EntityEdge { node: Entity! }
  type EntityConnection { edges: [EntityEdge!]! pageInfo: PageInfo! }
  type RoadmapNode { depth: Int! concept: Entity! }
  type RoadmapEdge { source: Entity! target: Entity! type: String! confidence: Float! }
  type Roadmap { concept: Entity! nodes: [RoadmapNode!]! edges: [RoadmapEdge!]! isTruncated: Boolean! }
  scalar JSON
  type Record { sourceId: ID! title: String value: Float createdAt: String attributes: JSON! }
  type RecordEdge { node: Record! }
  type RecordConnection { edges: [RecordEdge!]! pageInfo: PageInfo! }
  enum EntityOrder { ID_ASC }
  type Query {
    entity(id: ID!): Entity
    entities(orderBy: EntityOrder!, first: Int!, after: String): EntityConnection!
    data(first: Int!, after: String): RecordConnection!
    roadmap(conceptId: ID!, maxDepth: Int!, first: Int!): Roadmap
  }
`;

function entityOf(row) {
  return {
    rowId: row.id,
    id: row.key,
    kind: row.kind,
    name: row.name,
    description: row.description,
    isStub: row.is_stub,
    start: row.start_year === null ? null : { year: row.start_year },
  };
}

function recordOf(row) {
  return {
    sourceId: row.external_id,
    title: row.title,
    value: row.value,
    createdAt: row.created_at === null ? null : row.created_at.toISOString(),
    attributes: row.attributes,
  };
}

const resolvers = {
  Query: {
    async entity(_, { id }) {
      const [row] = await entityByKey(id);
      return row ? entityOf(row) : null;
    },
    async entities(_, { first, after }) {
      const rows = await entityPage(after ? Number(after) : 0, first + 1);
      const kept = rows.slice(0, first);
      return {
        edges: kept.map((row) => ({ node: entityOf(row) })),
        pageInfo: {
          hasNextPage: rows.length > first,
          endCursor: kept.length ? String(kept[kept.length - 1].id) : null,
        },
      };
    },
    async data(_, { first, after }) {
      const rows = await recordPage(after ?? "", first + 1);
      const kept = rows.slice(0, first);
      return {
        edges: kept.map((row) => ({ node: recordOf(row) })),
        pageInfo: {
          hasNextPage: rows.length > first,
          endCursor: kept.length ? kept[kept.length - 1].external_id : null,
        },
      };
    },
    async roadmap(_, { conceptId, maxDepth, first }) {
      const [row] = await roadmapOf(conceptId, maxDepth, first);
      return row
        ? {
            concept: { id: row.key, name: row.name },
            nodes: row.nodes ?? [],
            edges: row.edges ?? [],
            isTruncated: row.is_truncated,
          }
        : null;
    },
  },
};

const loaders = {
  Entity: {
    influences: {
      // Parents of one field of one query ask for as many.
      async loader(queries) {
        const rows = await influencesOf(
          queries.map(({ obj }) => obj.rowId),
          queries[0].params.first,
        );
        const byParent = new Map(queries.map(({ obj }) => [obj.rowId, []]));
        for (const row of rows) {
          const node = { rowId: row.id, id: row.key, name: row.name };
          byParent.get(row.parent_id).push({ type: row.type, confidence: row.confidence, node });
        }
        return queries.map(({ obj }) => ({ edges: byParent.get(obj.rowId) }));
      },
      opts: { cache: false },
    },
  },
};

const app = Fastify();
app.register(mercurius, { schema, resolvers, loaders, jit: 1 });
await app.listen({ port: Number(process.env.PORT), host: "127.0.0.1" });
