// The schema and the statements every contender runs, word for word the same.

export const SCHEMA = `
  CREATE TABLE city (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    country TEXT NOT NULL,
    lat REAL NOT NULL,
    lng REAL NOT NULL,
    visits INTEGER NOT NULL DEFAULT 0
  );
  CREATE INDEX city_name ON city (name);
  CREATE VIRTUAL TABLE city_box USING rtree (id, south, north, west, east);
  CREATE TRIGGER city_placed AFTER INSERT ON city BEGIN
    INSERT INTO city_box VALUES (new.id, new.lat, new.lat, new.lng, new.lng);
  END;
`;

export const INSERT = 'INSERT INTO city (id, name, country, lat, lng) VALUES (:id, :name, :country, :lat, :lng)';

export const BY_PREFIX = `
  SELECT id, name, country, lat, lng FROM city
  WHERE name >= :prefix AND name < :after
  ORDER BY name LIMIT 20
`;

export const NEAREST = `
  SELECT city.id, name, country, lat, lng
  FROM city_box JOIN city ON city.id = city_box.id
  WHERE north >= :south AND south <= :north AND east >= :west AND west <= :east
  ORDER BY (lat - :lat) * (lat - :lat) + (lng - :lng) * (lng - :lng) * :shrink * :shrink
  LIMIT 5
`;

export const VISITS = 'SELECT visits FROM city WHERE id = :id';
export const SET_VISITS = 'UPDATE city SET visits = :visits WHERE id = :id';

export const COUNTS = `
  SELECT (SELECT count(*) FROM city) AS cities,
         (SELECT count(*) FROM city_box) AS boxes,
         (SELECT sum(visits) FROM city) AS visits
`;

export const FIND = `
  SELECT id FROM city
  WHERE name = :name AND country = :country AND abs(lat - :lat) < 0.1 AND abs(lng - :lng) < 0.1
`;

/** Degrees around a place in which its neighbours are looked for. */
const REACH = 0.5;

export function prefixParams(prefix) {
  return { prefix, after: `${prefix}\u{10ffff}` };
}

/** A box of the same width in kilometres everywhere: a degree of longitude shrinks towards the poles. */
export function boxParams(lat, lng) {
  const shrink = Math.max(0.1, Math.cos((lat * Math.PI) / 180));
  const reach = REACH / shrink;
  return { south: lat - REACH, north: lat + REACH, west: lng - reach, east: lng + reach, lat, lng, shrink };
}
